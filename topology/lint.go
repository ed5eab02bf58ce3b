package topology

func (p *planner) lint() {}
