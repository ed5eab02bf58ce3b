package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"

	"github.com/ipvslab/ipvslab/lab"
	"github.com/ipvslab/ipvslab/lab/traffic"
)

// What lab/traffic is compared with: the least that package net can do.

// visitPlainly opens the connections one by one.
func visitPlainly(_ context.Context, enter traffic.Enter, to netip.AddrPort) error {
	target := to.String()
	return enter(func() error {
		for range connections {
			if err := get(target); err != nil {
				return err
			}
		}
		return nil
	})
}

func get(target string) error {
	c, err := net.Dial("tcp", target)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: "+target+"\r\nConnection: close\r\n\r\n"); err != nil {
		return err
	}
	answer, err := io.ReadAll(c)
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(answer, []byte("HTTP/1.1 200 ")) {
		return fmt.Errorf("visit %s: not an answer: %q", target, answer)
	}
	return nil
}

// servePlainly answers on a node's port as long as this process lives.
func servePlainly(l *lab.Lab, name string, port uint16) error {
	node, err := l.Node(name)
	if err != nil {
		return err
	}
	var listener net.Listener
	err = node.Do(func() (err error) {
		listener, err = net.Listen("tcp", ":"+strconv.Itoa(int(port)))
		return err
	})
	if err != nil {
		return fmt.Errorf("serve in %s: %w", name, err)
	}
	answer := fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s\n", len(name)+1, name)
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return // nobody closes it: the namespace's end is the process's, too
			}
			go func() {
				defer c.Close()
				if n, _ := c.Read(make([]byte, 4096)); n > 0 {
					_, _ = c.Write(answer) // a client without its answer says so
				}
			}()
		}
	}()
	return nil
}
