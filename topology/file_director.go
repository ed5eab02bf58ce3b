package topology

import "net/netip"

// DirectorSpec is what runs the directors: its kind alone, or a mapping.
type DirectorSpec struct {
	// embedded (the default), keepalived, ipvsadm, or command.
	Kind DirectorKind `json:"kind,omitempty"`
	// keepalived: a configuration file of your own, run as it is; or a mapping of nodes to files. Without it, one is made of the services.
	Config NodeFiles `json:"config,omitempty"`
	// ipvsadm: a rules file as ipvsadm-save writes it; or a mapping of nodes to files. Without it, the rules are made of the services.
	Rules NodeFiles `json:"rules,omitempty"`
	// keepalived, ipvsadm: the program to run; keepalived from the PATH, and ipvslab's own ipvsadm, unless told otherwise.
	Program string `json:"program,omitempty"`
	// command: program and arguments; no shell is involved.
	Argv []string `json:"argv,omitempty"`
	// keepalived, command: working directory; the topology file's unless told otherwise.
	Dir string `json:"dir,omitempty"`
	// keepalived, command: additional environment.
	Env Ordered[SysctlValue] `json:"env,omitempty"`
	// When it counts as started; when the table is what the services say, unless told otherwise (within alone sets the deadline for that).
	Ready ReadySpec `json:"ready,omitzero"`
}

// NodeFiles is a file, or a mapping of nodes to files; paths are relative to the topology file.
type NodeFiles struct {
	All  string
	Each Ordered[string]
}

// CheckSpec is a health check of real servers: tcp, http, udp or grpc alone, or a mapping with exactly one of these and command.
type CheckSpec struct {
	// true: the port accepts a connection.
	TCP bool `json:"tcp,omitempty"`
	// true, a path, or a mapping: a GET is answered.
	HTTP *HTTPCheckSpec `json:"http,omitempty"`
	// true or a mapping: a datagram is answered, or at least not refused.
	UDP *UDPCheckSpec `json:"udp,omitempty"`
	// true, a service's name, or a mapping: grpc.health.v1.Health/Check says SERVING.
	GRPC *GRPCCheckSpec `json:"grpc,omitempty"`
	// A program and arguments, run on the director, end with status 0.
	Command []string `json:"command,omitempty"`
	// The port to check; the real port unless told otherwise.
	Port uint16 `json:"port,omitempty" jsonschema:"minimum=1,maximum=65535"`
	// From the end of one check to the beginning of the next (keepalived's delay_loop); 60s unless told otherwise.
	Interval Duration `json:"interval,omitempty"`
	// Of one check (connect_timeout); 5s unless told otherwise.
	Timeout Duration `json:"timeout,omitempty"`
	// Successes in a row that bring a real server up; 1 unless told otherwise.
	Rise int `json:"rise,omitempty" jsonschema:"minimum=1,maximum=1000"`
	// Failures in a row that take it down (retry, and one); 2 unless told otherwise, 1 for a command.
	Fall int `json:"fall,omitempty" jsonschema:"minimum=1,maximum=1000"`
	// Between two checks while successes or failures are counted (delay_before_retry); 1s unless told otherwise, 3s for http; never more than interval.
	DelayBeforeRetry *Duration `json:"delayBeforeRetry,omitempty"`
	// The first check comes at random within this time (warmup); interval unless told otherwise.
	WarmUp *Duration `json:"warmUp,omitempty"`
	// Down until its first check; otherwise up.
	Alpha bool `json:"alpha,omitempty"`
	// remove (the default), or inhibit: stay in the table with weight 0, so that its connections go on (inhibit_on_failure).
	OnFailure OnFailureName `json:"onFailure,omitempty"`
}

// HTTPCheckSpec is a GET: its path alone, or a mapping.
type HTTPCheckSpec struct {
	// The path, with its query; / unless told otherwise.
	Path string `json:"path,omitempty"`
	// Status codes or ranges of success; 200-299 unless told otherwise.
	Status List[StatusRange] `json:"status,omitempty"`
	// A regular expression (RE2) that the first 64 KiB of the body must match.
	Body string `json:"body,omitempty"`
	// The Host header, and the name asked for with TLS; the address unless told otherwise.
	Host string `json:"host,omitempty"`
	// HTTPS. The certificate is not verified, as by keepalived.
	TLS bool `json:"tls,omitempty"`
}

// UDPCheckSpec is a datagram and its answer.
type UDPCheckSpec struct {
	// What is sent; nothing (an empty datagram) unless told otherwise.
	Send string `json:"send,omitempty"`
	// What the answer must begin with. Without it, no answer is needed: only an ICMP error is a failure.
	Expect string `json:"expect,omitempty"`
}

// GRPCCheckSpec is a call of grpc.health.v1.Health/Check: the service's name alone, or a mapping.
type GRPCCheckSpec struct {
	// The service asked about; the server as a whole unless told otherwise.
	Service string `json:"service,omitempty"`
	// The authority, and the name asked for with TLS; the address unless told otherwise.
	Host string `json:"host,omitempty"`
	// Over TLS. The certificate is not verified.
	TLS bool `json:"tls,omitempty"`
}

// SorryServerSpec is where connections go while the service has no quorum: a node alone, or a mapping.
type SorryServerSpec struct {
	// The node.
	Node string `json:"node"`
	// The real port; the virtual one unless told otherwise (nat only).
	Port uint16 `json:"port,omitempty" jsonschema:"minimum=1,maximum=65535"`
	// Its forwarding method; the service's unless told otherwise.
	Forwarding ForwardName `json:"forwarding,omitempty"`
	// Its address; that on a network shared with the director unless told otherwise.
	Address netip.Addr `json:"address,omitzero"`
	// Encapsulation, for tun.
	Tunnel *TunnelSpec `json:"tunnel,omitempty"`
	// Keep it in the table with weight 0 while there is a quorum, so that its connections go on (sorry_server_inhibit).
	Inhibit bool `json:"inhibit,omitempty"`
}
