package topology

// FaultSpec is something that goes wrong on purpose: the words of ipvslab fault with a time in front, such as 1s master kill, or a mapping.
type FaultSpec struct {
	// When, since the traffic began.
	At Duration `json:"at,omitempty"`
	// kill, stop, freeze, resume, restart (of a process), link-down, link-up, loss, delay, partition (of the line), or heal.
	Do FaultKind `json:"do"`
	// The node that it happens to.
	Node string `json:"node"`
	// director, responders (the node's built-in servers), or a command's name; needed only where there are several.
	Process string `json:"process,omitempty"`
	// The interface or its network; all that are on networks unless told otherwise.
	Interface string `json:"interface,omitempty"`
	// The other side of a partition. Loss and delay: only what goes between the node and these.
	With List[string] `json:"with,omitempty"`
	// in (packets to the node), out (packets from it) or both (the default).
	Direction DirectionName `json:"direction,omitempty"`
	// How much gets lost, such as 30%.
	Loss Percent `json:"loss,omitempty"`
	// How late packets come.
	Delay Duration `json:"delay,omitempty"`
	// More or less late by up to this.
	Jitter Duration `json:"jitter,omitempty"`
}

// HandoverSpec is what clients may notice of the faults. What is not said is not checked.
type HandoverSpec struct {
	// The longest time in which nobody is served.
	Gap Duration `json:"gap,omitempty"`
	// At most so many new connections and requests of streams that are never answered.
	Lost *int `json:"lost,omitempty" jsonschema:"minimum=0,maximum=2147483647"`
	// continue: every stream goes on to the end; lost: none does.
	Streams StreamsName `json:"streams,omitempty"`
	// The director that has its failover group's addresses in the end, before anything is healed.
	Active string `json:"active,omitempty"`
	// The longest time in which two directors have a failover group's addresses.
	TwoActive *Duration `json:"twoActive,omitempty"`
}

// Percent is a share of a hundred, with or without its sign.
type Percent float64

// DirectionName says which packets a fault of the line takes.
type DirectionName string

// StreamsName is what becomes of streams.
type StreamsName string

func (FaultKind) allowed() []string     { return kindNames() }
func (DirectionName) allowed() []string { return []string{string(In), string(Out), "both"} }
func (StreamsName) allowed() []string   { return []string{"continue", "lost"} }
