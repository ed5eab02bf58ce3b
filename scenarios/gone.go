package scenarios

import (
	"fmt"

	"github.com/onsi/ginkgo/v2"

	"github.com/ipvslab/ipvslab/lab"
)

// gone says what became of the lab if somebody took it down, or made it anew,
// while it is tested; "" if nobody did.
func (st *stage) gone() string {
	if st.lab == nil {
		return ""
	}
	s, err := lab.ReadStatus(st.plan.Name)
	if st.born.IsZero() && err == nil {
		st.born = s.Created
	}
	if err != nil || !s.Created.Equal(st.born) || s.Phase != "up" {
		return fmt.Sprintf("lab %s was taken down by somebody else while it was tested", st.plan.Name)
	}
	return ""
}

// leaveIfGone fails the first spec after the lab's end, and leaves out the others.
func (st *stage) leaveIfGone() {
	why := st.gone()
	switch {
	case why == "":
	case st.left:
		ginkgo.Skip(why)
	default:
		st.left = true
		ginkgo.Fail(why)
	}
}
