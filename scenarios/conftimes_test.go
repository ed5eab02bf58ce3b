package scenarios

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestConfTimes reads the times of checks in files as people write them.
func TestConfTimes(t *testing.T) {
	const checked = "real_server 10.1.0.11 80 { TCP_CHECK { connect_timeout 2 } }"
	for _, c := range []struct {
		name, conf string
		want       confTimes
	}{
		{"defaults", "virtual_server 10.0.0.1 80 {\n" + checked + "}", confTimes{time.Minute, 1, 3 * time.Second, 2 * time.Second}},
		{
			"as many write it", "virtual_server 10.0.0.1 80 {\n delay_loop 6 # comment 60\n retry 2\n delay_before_retry 1.5\n" + checked + "\n}\n",
			confTimes{6 * time.Second, 2, 1500 * time.Millisecond, 2 * time.Second},
		},
		{
			"the longest counts", "virtual_server_group g {\n 10.0.0.1 80\n}\nvirtual_server group g {\n delay_loop 1\n" + checked + "}\nvirtual_server fwmark 1\n{\ndelay_loop 4\n real_server 10.1.0.12 80 {\nHTTP_GET {\nurl {\npath /\n}\nnb_get_retry 3\ndelay_before_retry 2\n}\n}\n}",
			confTimes{4 * time.Second, 3, 3 * time.Second, 5 * time.Second},
		},
		{"nobody is checked", "virtual_server 10.0.0.1 80 {\n real_server 10.1.0.11 80 {\n weight 1\n }\n}", confTimes{}},
		{"a variable, and a line for a node", "$LOOP=2\nvirtual_server 10.0.0.1 80 {\n@lb1 delay_loop $LOOP\n@lb2 delay_loop ${LOOP}\n" + checked + "}", confTimes{2 * time.Second, 1, 3 * time.Second, 2 * time.Second}},
		{"two urls", "virtual_server 10.0.0.1 80 {\n delay_loop 2\n real_server 10.1.0.11 80 { SSL_GET { url { path /a } url { path /b } connect_timeout 1 } }\n}", confTimes{4 * time.Second, 1, 3 * time.Second, time.Second}},
		{"included", "include more*.inc\n", confTimes{7 * time.Second, 1, 3 * time.Second, 2 * time.Second}},
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, "keepalived.conf")
		for name, text := range map[string]string{path: c.conf, filepath.Join(dir, "more1.inc"): "virtual_server 10.0.0.1 80 {\n! delay_loop 9\ndelay_loop 7\n" + checked + "}\n"} {
			if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := readConfTimes(path); err != nil || got != c.want {
			t.Errorf("%s: %+v, %v; want %+v", c.name, got, err, c.want)
		}
	}
	if _, err := readConfTimes("nowhere.conf"); err == nil {
		t.Error("a file that is not there has times")
	}
	if n, v := (confTimes{4 * time.Second, 2, time.Second, 3 * time.Second}).notice(), (confTimes{4 * time.Second, 2, time.Second, 3 * time.Second}).verdict(); n != 6500*time.Millisecond || v != 31*time.Second {
		t.Errorf("noticed after %v, surely after %v", n, v)
	}
}
