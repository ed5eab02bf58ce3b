package capture

import "strconv"

// Chunk is an SCTP chunk's type (RFC 9260, section 3.2).
type Chunk uint8

// The types that make and end an association. DATA, which is 0, is also what
// a Header says that has no chunk.
const (
	ChunkData             Chunk = 0
	ChunkInit             Chunk = 1
	ChunkInitAck          Chunk = 2
	ChunkSack             Chunk = 3
	ChunkHeartbeat        Chunk = 4
	ChunkHeartbeatAck     Chunk = 5
	ChunkAbort            Chunk = 6
	ChunkShutdown         Chunk = 7
	ChunkShutdownAck      Chunk = 8
	ChunkError            Chunk = 9
	ChunkCookieEcho       Chunk = 10
	ChunkCookieAck        Chunk = 11
	ChunkShutdownComplete Chunk = 14
)

var chunkNames = map[Chunk]string{
	ChunkData: "DATA", ChunkInit: "INIT", ChunkInitAck: "INIT ACK", ChunkSack: "SACK", ChunkHeartbeat: "HB REQ",
	ChunkHeartbeatAck: "HB ACK", ChunkAbort: "ABORT", ChunkShutdown: "SHUTDOWN", ChunkShutdownAck: "SHUTDOWN ACK",
	ChunkError: "OP ERR", ChunkCookieEcho: "COOKIE ECHO", ChunkCookieAck: "COOKIE ACK", ChunkShutdownComplete: "SHUTDOWN COMPLETE",
}

// String is tcpdump's word for it.
func (c Chunk) String() string {
	if name, ok := chunkNames[c]; ok {
		return name
	}
	return strconv.Itoa(int(c))
}
