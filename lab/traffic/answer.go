package traffic

import (
	"bytes"
	"strconv"
)

// maxHead bounds what is kept of an answer: header, or first line.
const maxHead = 64 << 10

// answer reads who answered, and tells when the answer is whole.
type answer struct {
	head     []byte // what has come so far, as long as the header isn't whole
	inBody   bool
	left     int64 // bytes of body to come; -1: up to the end of the stream
	identity []byte
	named    bool // the identity came in a header
	status   int
}

func (a *answer) reset() { *a = answer{head: a.head[:0]} }

// feed takes what was read, nothing at the end of the stream. The identity is
// valid until the next call. A kind says why this is no answer.
func (a *answer) feed(protocol string, data []byte) (whole bool, kind string) {
	if protocol == HTTP {
		return a.feedHTTP(data)
	}
	if len(a.head) > 0 || (isStream(protocol) && bytes.IndexByte(data, '\n') < 0) {
		a.head = append(a.head, data...)
		data = a.head
	}
	line, _, ended := bytes.Cut(data, []byte("\n"))
	if !ended && isStream(protocol) {
		if len(data) > maxHead {
			return false, KindMalform
		}
		return false, ""
	}
	a.identity = line
	return true, ""
}

func (a *answer) feedHTTP(data []byte) (whole bool, kind string) {
	ended := len(data) == 0
	if !a.inBody {
		if len(a.head) > 0 {
			a.head = append(a.head, data...)
			data = a.head
		}
		end := bytes.Index(data, []byte("\r\n\r\n"))
		if end < 0 {
			if len(data) > maxHead {
				return false, KindMalform
			}
			if len(a.head) == 0 {
				a.head = append(a.head, data...)
			}
			return false, ""
		}
		if !a.header(data[:end+2]) {
			return false, KindMalform
		}
		data = data[end+4:]
	}
	if !a.named && len(a.identity) == 0 && len(data) > 0 {
		// Not one of our own servers, perhaps: the first line of the body has to do.
		line, _, _ := bytes.Cut(data[:min(len(data), 256)], []byte("\n"))
		a.identity = bytes.Clone(bytes.TrimSpace(line))
	}
	if a.left >= 0 {
		a.left = max(a.left-int64(len(data)), 0)
	}
	whole = a.left == 0 || (a.left < 0 && ended)
	if whole && a.status >= 400 {
		return false, "http " + strconv.Itoa(a.status)
	}
	return whole, ""
}

var (
	headerLength   = []byte("content-length:")
	headerIdentity = []byte("x-real-server:")
)

// header reads the status line and the fields; each ends with CR LF.
func (a *answer) header(head []byte) bool {
	status, fields, _ := bytes.Cut(head, []byte("\r\n"))
	if len(status) < 12 || !bytes.HasPrefix(status, []byte("HTTP/1.")) {
		return false
	}
	code, err := strconv.Atoi(string(status[9:12]))
	if err != nil {
		return false
	}
	a.status, a.left, a.inBody = code, -1, true
	if code == 204 || code == 304 {
		a.left = 0
	}
	for len(fields) > 0 {
		var line []byte
		line, fields, _ = bytes.Cut(fields, []byte("\r\n"))
		if v, ok := cutField(line, headerLength); ok {
			if a.left, err = strconv.ParseInt(string(v), 10, 64); err != nil || a.left < 0 {
				return false
			}
		} else if v, ok := cutField(line, headerIdentity); ok {
			// Kept beyond this read when the body comes in pieces.
			a.identity, a.named = append(a.identity[:0:0], v...), true
		}
	}
	return true
}

// cutField takes a field's name off its line, whatever its case.
func cutField(line, name []byte) (value []byte, ok bool) {
	if len(line) < len(name) || !bytes.EqualFold(line[:len(name)], name) {
		return nil, false
	}
	return bytes.TrimSpace(line[len(name):]), true
}

// requests makes what is sent for an answer, and what is sent to have the
// server close. HTTP is asked for as version 1.0, as ab does: no server may
// then answer in chunks, and who closes first is ours to say.
func requests(s Spec) (request, last []byte) {
	switch s.Protocol {
	case HTTP:
		head := "GET " + s.Path + " HTTP/1.0\r\nHost: " + s.To.String() + "\r\nUser-Agent: ipvslab\r\n"
		return []byte(head + "Connection: keep-alive\r\n\r\n"), []byte(head + "\r\n")
	case TCP, SCTP:
		return nil, []byte(commandClose + "\n")
	}
	return s.Payload, nil
}

// name gives the one copy of an identity.
func (l *loop) name(identity []byte) string {
	if s, ok := l.names[string(identity)]; ok {
		return s
	}
	s := string(identity)
	l.names[s] = s
	return s
}
