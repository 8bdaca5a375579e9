#!/usr/bin/env bash
# Changes a few things in a volume made by demo/volume.sh: demo/change.sh DIR.
set -euo pipefail
cd "$1"

# A byte in front moves all the others: a block-wise comparison would send the file again.
{ printf 'x'; cat data/large.bin; } >data/large.new
mv data/large.new data/large.bin
echo 'one line more' >>data/numbers.txt
echo 'a new record' >shared/record-501
rm shared/record-7
mv shared/record-8 shared/record-eight
chmod 0600 shared/record-9
rm data/link && ln -s nothing data/link
rmdir empty && echo 'a file now' >empty
