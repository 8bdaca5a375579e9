#!/bin/bash
# Lays out the transfer image's files: BINARY by all its names, bash, certificates, in the new folder ROOT.
set -euo pipefail
binary=$1
root=$2

mkdir -p "$root"/{usr/bin,bin,etc/ssl/certs}
install -m 755 "$binary" "$root/usr/bin/barge"
for name in rsync nc touch sleep sync stat test true cat; do
    ln -s barge "$root/usr/bin/$name"
done
ln -s ../usr/bin/barge "$root/bin/stunnel"
ln -s usr/bin/barge "$root/blockrsync"
ln -s usr/bin/barge "$root/proxy"
install -m 755 /bin/bash-static "$root/bin/bash"
ln -s bash "$root/bin/sh"
install -m 644 /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"

# `uid = root` in an rsyncd.conf is a name. No others: what has no name here keeps its number.
echo 'root:x:0:0:root:/:/bin/bash
nobody:x:65534:65534:nobody:/:/bin/bash' > "$root/etc/passwd"
echo 'root:x:0:
nobody:x:65534:' > "$root/etc/group"
chmod 644 "$root"/etc/{passwd,group}
