#!/bin/sh
# start.sh - nginx in a container: all that it writes is below /run/nginx, a tmpfs
set -eu

mkdir -p /run/nginx/temp
ln -sf /dev/stdout /run/nginx/access.log
exec nginx -p /run/nginx -c /etc/stream-broadcast/nginx.conf
