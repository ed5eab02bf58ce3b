package story

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/ipvslab/ipvslab/internal/rtnl"
	"github.com/ipvslab/ipvslab/lab/traffic"
	"github.com/ipvslab/ipvslab/lb"
	"github.com/ipvslab/ipvslab/lb/ipvsadm"
)

// hanging is how many requests the tutorial's author made in vain.
const hanging = 5

func machines(_ context.Context, t *teller) error {
	c := t.cast
	t.drawing()
	t.command(c.master, "sysctl net.ipv4.ip_forward")
	node, err := t.lab.Node(c.master)
	if err != nil {
		return err
	}
	var value string
	if err := node.Do(func() (err error) { value, err = rtnl.ReadSysctl("net.ipv4.ip_forward"); return err }); err != nil {
		return err
	}
	t.result("net.ipv4.ip_forward = " + value)
	if value != "1" {
		return notSeen("net.ipv4.ip_forward to be 1 in %s, it is %s", c.master, value)
	}
	t.why("A NAT director is a router: it passes on packets that are not for itself. No firewall or SELinux to turn off here.")
	return nil
}

// drawing shows who is where.
func (t *teller) drawing() {
	c := t.cast
	row := func(cells ...any) string {
		return strings.TrimRight(fmt.Sprintf("  %-15s %-6s %-15s   %-15s %-6s %s", cells...), " ")
	}
	t.print(strings.Join([]string{
		"",
		row("", "", "outside", "inside", "", ""),
		row(c.clientIP, "--+--", c.vip.Addr(), c.inside, "--+--", c.reals[0].addr.Addr()),
		row(c.client, "  |", c.master+", director", "", "  |", c.reals[0].name),
		row("", "  |", "", "", "  |", ""),
		row("", "  +--", c.backupOutside, c.backupInside, "--+--", c.reals[1].addr.Addr()),
		row("", "", c.backup+", director", "", "", c.reals[1].name),
		"",
	}, "\n"))
}

func direct(ctx context.Context, t *teller) error {
	for _, r := range t.cast.reals {
		t.command(t.cast.client, "curl http://"+r.addr.String()+"/")
		res, err := t.visit(ctx, traffic.Spec{To: r.addr})
		if err != nil {
			return err
		}
		t.result(strings.Join(res.Sequence(), "\n"))
		if res.Identities[r.name] != 1 {
			return notSeen("the page of %s, got outcomes %v from %v", r.name, res.Outcomes, res.Identities)
		}
	}
	t.why("Each shows its own page: the web servers work, and there is a way to them and back.")
	return nil
}

func table(ctx context.Context, t *teller) error {
	c := t.cast
	first, second := c.reals[0].addr, c.reals[1].addr
	for _, line := range []string{
		"ipvsadm -C",
		"ipvsadm -A -t " + c.vip.String() + " -s wlc",
		"ipvsadm -a -t " + c.vip.String() + " -r " + first.String() + " -m",
	} {
		if _, err := t.must(ctx, line); err != nil {
			return err
		}
	}
	if err := wrongVIP(ctx, t); err != nil {
		return err
	}
	if _, err := t.must(ctx, "ipvsadm -a -t "+c.vip.String()+" -r "+second.String()+" -m"); err != nil {
		return err
	}
	out, err := t.must(ctx, "ipvsadm -Ln")
	if err != nil {
		return err
	}
	for _, want := range []string{c.vip.String() + " wlc", first.String(), second.String()} {
		if !strings.Contains(out, want) {
			return notSeen("%q in the table", want)
		}
	}
	t.why("One virtual service, two real servers behind it by NAT (Masq), chosen by weighted least connections.")
	return nil
}

// wrongVIP is the tutorial's last line: a real server for a VIP that was never added.
func wrongVIP(ctx context.Context, t *teller) error {
	c := t.cast
	b := c.vip.Addr().As4()
	b[3] = 100
	line := fmt.Sprintf("ipvsadm -a -t %d.%d.%d.%d:%d -r %s -m", b[0], b[1], b[2], b[3], c.vip.Port(), c.reals[1].addr)
	t.command(c.master, line)
	out, errs, status, err := t.ipvsadm(ctx, line, "")
	if err != nil {
		return err
	}
	t.result(out + errs)
	if status == 0 || !strings.Contains(errs, "Service not defined") {
		return notSeen(`%q to be refused with "Service not defined", got status %d: %s`, line, status, errs)
	}
	t.why(fmt.Sprintf("The tutorial's slip: no -A was ever given for this address. The ipvsadm of its day called the same refusal "+
		`"Memory allocation problem", which sent its author looking elsewhere. The VIP is %s:`, c.vip.Addr()))
	return nil
}

func hang(ctx context.Context, t *teller) error {
	c := t.cast
	t.command(c.client, fmt.Sprintf("for i in 1 2 3 4 5; do curl --max-time 2 http://%s/ & done; wait", c.vip))
	res, err := t.visit(ctx, traffic.Spec{To: c.vip, Connections: hanging, Concurrency: hanging, Timeout: 2 * time.Second})
	if err != nil {
		return err
	}
	t.result(fmt.Sprintf("%d requests, %d answered, %d timed out", res.Opened, res.Answered(), res.Outcomes[traffic.TimedOut]))
	if res.Outcomes[traffic.TimedOut] != hanging {
		return notSeen("all %d requests to time out, got %v", hanging, res.Outcomes)
	}
	if _, err := t.must(ctx, "ipvsadm -Lnc"); err != nil {
		return err
	}
	if err := halfOpen(ctx, t); err != nil {
		return err
	}
	t.why("The director did its part: five entries, on both real servers. But all stay in SYN_RECV, " +
		"gone within a minute: it never saw a handshake completed. The tutorial ends here, with both servers working and no reason found.")
	return nil
}

// halfOpen checks the connection table against what the tutorial lists.
func halfOpen(ctx context.Context, t *teller) error {
	conns, err := t.conns(ctx)
	if err != nil {
		return err
	}
	on := map[string]int{}
	for _, e := range conns {
		if e.Client.Addr() != t.cast.clientIP || e.Virtual != t.cast.vip || e.State != "SYN_RECV" || e.Expires > time.Minute {
			return notSeen("entries from %s to %s in SYN_RECV that expire within a minute, got %v", t.cast.clientIP, t.cast.vip, e)
		}
		on[e.Real.String()]++
	}
	if len(conns) != hanging || len(on) != len(t.cast.reals) {
		return notSeen("%d entries on both real servers, got %v", hanging, on)
	}
	return nil
}

func (t *teller) conns(ctx context.Context) (conns []lb.Conn, err error) {
	node, err := t.lab.Node(t.cast.master)
	if err != nil {
		return nil, err
	}
	table, err := node.Table(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, table.Close()) }()
	return table.Conns(ctx)
}

func rulesFile(ctx context.Context, t *teller) error {
	// The lab's machines share this one's /etc; each lab has a directory of its own.
	path := filepath.Join(t.lab.Dir(), "ipvsadm.rules")
	t.say("The tutorial's ipvsadm.service fails at boot. It runs this (here on a file in the lab's own directory, there on /etc/sysconfig/ipvsadm):")
	t.command(t.cast.master, "ipvsadm-restore < "+path)
	f, err := ipvsadm.OpenRules(path)
	if !errors.Is(err, fs.ErrNotExist) {
		if err == nil {
			f.Close()
		}
		return notSeen("%s not to exist, got %v", path, err)
	}
	t.say(err.Error())
	t.why("An empty file (the tutorial's touch) lets the service start, with an empty table. What it wants is a saved table:")
	t.command(t.cast.master, "ipvsadm-save -n > "+path)
	saved, _, status, err := t.ipvsadm(ctx, "ipvsadm-save -n", "")
	if err != nil || status != 0 {
		return errors.Join(err, notSeen("the table to be saved, status %d", status))
	}
	if err := os.WriteFile(path, []byte(saved), 0o600); err != nil {
		return err
	}
	t.command(t.cast.master, "cat "+path)
	t.result(saved)
	if _, err := t.must(ctx, "ipvsadm -C"); err != nil {
		return err
	}
	t.command(t.cast.master, "ipvsadm-restore < "+path)
	_, errs, status, err := t.ipvsadm(ctx, "ipvsadm-restore", saved)
	if err != nil || status != 0 {
		return errors.Join(err, notSeen("the saved table to be restored, status %d: %s", status, errs))
	}
	again, _, _, err := t.ipvsadm(ctx, "ipvsadm-save -n", "")
	if err == nil && sorted(again) != sorted(saved) {
		err = notSeen("the same table as was saved, got\n%s", again)
	}
	if err != nil {
		return err
	}
	_, err = t.must(ctx, "ipvsadm -Ln")
	return err
}

func sorted(lines string) string {
	l := strings.Split(lines, "\n")
	slices.Sort(l)
	return strings.Join(l, "\n")
}
