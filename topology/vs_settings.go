package topology

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// vsPrefix is where IPVS's own settings are.
const vsPrefix = "net.ipv4.vs."

// vsValue tells whether a setting may have a value.
type vsValue struct {
	allowed string
	ok      func(string) bool
}

// vsSettings are the settings of net.ipv4.vs, with what the kernel takes
// (vs_vars in net/netfilter/ipvs/ip_vs_ctl.c) or, where it takes any number,
// what it tells apart (Documentation/networking/ipvs-sysctl.rst).
var vsSettings = map[string]vsValue{
	"am_droprate":               number(0, 1<<31-1),
	"amemthresh":                number(0, 1<<31-1),
	"backup_only":               number(0, 1),
	"cache_bypass":              number(0, 1),
	"conn_reuse_mode":           number(0, 3),
	"conntrack":                 number(0, 1),
	"debug_level":               number(0, 1<<31-1),
	"drop_entry":                number(0, 3),
	"drop_packet":               number(0, 3),
	"est_cpulist":               {"a list of processors such as 0-1,3", regexp.MustCompile(`^\d+(-\d+)?(,\d+(-\d+)?)*$`).MatchString},
	"est_nice":                  number(-20, 19),
	"expire_nodest_conn":        number(0, 1),
	"expire_quiescent_template": number(0, 1),
	"ignore_tunneled":           number(0, 1),
	"lblc_expiration":           number(0, 1<<31-1),
	"lblcr_expiration":          number(0, 1<<31-1),
	"nat_icmp_send":             number(0, 1),
	"pmtu_disc":                 number(0, 1),
	"run_estimation":            number(0, 1),
	"schedule_icmp":             number(0, 1),
	"secure_tcp":                number(0, 3),
	"sloppy_sctp":               number(0, 1),
	"sloppy_tcp":                number(0, 1),
	"snat_reroute":              number(0, 1),
	"sync_persist_mode":         number(0, 1),
	"sync_ports":                {"1, 2, 4, 8, 16, 32 or 64", regexp.MustCompile(`^(1|2|4|8|16|32|64)$`).MatchString},
	"sync_qlen_max":             number(0, 1<<31-1),
	"sync_refresh_period":       number(0, 1<<31-1),
	"sync_retries":              number(0, 3),
	"sync_sock_size":            number(0, 1<<31-1),
	"sync_threshold":            {`two numbers such as "3 50", the second 0 or greater than the first`, thresholds},
	"sync_version":              number(0, 1),
}

// number allows whole numbers of a range.
func number(least, most int) vsValue {
	v := vsValue{allowed: fmt.Sprintf("%d to %d", least, most)}
	if most == 1<<31-1 {
		v.allowed = fmt.Sprintf("%d and more", least)
	}
	if least == 0 && most == 1 {
		v.allowed = "0 or 1"
	}
	v.ok = func(text string) bool {
		n, err := strconv.Atoi(text)
		return err == nil && n >= least && n <= most
	}
	return v
}

// thresholds is proc_do_sync_threshold's rule.
func thresholds(text string) bool {
	words := strings.Fields(text)
	if len(words) != 2 {
		return false
	}
	from, err1 := strconv.ParseUint(words[0], 10, 31)
	period, err2 := strconv.ParseUint(words[1], 10, 31)
	return err1 == nil && err2 == nil && (period == 0 || from < period)
}

// checkVS checks one of IPVS's settings: a name that is mistyped, a value that
// the kernel refuses or doesn't mean.
func (p *planner) checkVS(path, key, value string) {
	name, ok := strings.CutPrefix(key, vsPrefix)
	if !ok || value == inherit {
		return
	}
	v, known := vsSettings[name]
	if !known {
		p.errorf(path, choices(name, slices.Sorted(maps.Keys(vsSettings))), "%q is no setting of IPVS", name)
		return
	}
	if !v.ok(value) {
		p.errorf(path, "allowed: "+v.allowed, "found the value %q", value)
	}
}
