#!/usr/bin/env bash
# Makes a small volume that has one of everything a Linux file system holds.
#
# demo/volume.sh DIR. Root gets devices, foreign owners and capabilities too.
set -euo pipefail

mkdir -p "$1"
cd "$1"

# What not every file system keeps is left out with a word.
try() { "$@" 2>/dev/null || printf 'left out, refused here: %s\n' "$*"; }

mkdir -p data deep empty private shared

# Content: large, small, none, and mostly holes.
head -c 64M /dev/urandom >data/large.bin
seq 1 100000 >data/numbers.txt
: >data/nothing
for i in $(seq 500); do echo "record $i" >"shared/record-$i"; done
truncate -s 256M data/sparse.img
printf 'in the middle of nothing' | dd of=data/sparse.img bs=1M seek=128 conv=notrunc status=none

# Names: any bytes but NUL and slash.
touch $'data/two\nlines' 'data/ leading and trailing ' $'data/not UTF-8 \xff\xfe' -- data/-rf 'data/*'
touch "data/$(printf 'n%.0s' {1..255})"
(cd deep && for _ in $(seq 25); do
    name=$(printf 'd%.0s' {1..200})
    mkdir "$name" && cd "$name"
done && echo bottom >bottom)

# Links.
ln -s numbers.txt data/link
ln -s /nowhere/at/all data/dangling
ln -s $'\xff' data/link-to-no-text
ln data/numbers.txt shared/the-same-numbers

# Special files.
mkfifo shared/fifo
perl -MIO::Socket::UNIX -e 'IO::Socket::UNIX->new(Local => shift, Listen => 1) or die "$!\n"' shared/socket

# Permissions, ACLs, attributes.
chmod 4755 data/numbers.txt
chmod 2775 shared
chmod 1777 empty
chmod 0700 private
echo secret >private/key && chmod 0400 private/key
try setfacl -m u:1234:rw,g:5678:r data/numbers.txt
try setfacl -d -m u:1234:rwx shared
try setfattr -n user.comment -v 'kept with the file' data/large.bin
try setfattr -n user.empty data/nothing

# Times: nanoseconds, before 1970, after 2106.
touch -d '2001-02-03 04:05:06.123456789 UTC' data/nothing
touch -d '1960-01-01 00:00:00.5 UTC' shared/record-1
try touch -d '2200-01-01 UTC' shared/record-2
touch -h -d '1999-12-31 UTC' data/dangling

if [ "$(id -u)" -eq 0 ]; then
    try mknod shared/null c 1 3
    try mknod shared/disk b 7 200
    chown 4294967294:4294967294 shared/record-3
    chown -h 1234:5678 data/dangling
    chown 1234:5678 private private/key
    echo hidden >private/mode-0 && chmod 0 private/mode-0
    try setcap cap_net_bind_service=+ep shared/record-4
    try setfattr -n trusted.note -v 'for root alone' shared/record-5
fi

touch -d '2010-01-01 UTC' deep data
