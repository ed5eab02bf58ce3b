#!/bin/sh
# Is the server there? (keepalived calls it: see site.conf)
test "$1" = 10.1.0.11
