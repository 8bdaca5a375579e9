#!/usr/bin/env bash
# Compares two trees by find, stat, getfattr, getfacl and sha256sum: demo/compare.sh A B.
#
# Of every path: kind, mode, owner, group, link target, size, time in nanoseconds, device number,
# which names are one file, extended attributes, ACL, content. Left out: what belongs to the file
# system (inode numbers, sizes of directories, lost+found). Exit code 0 when nothing differs.
set -euo pipefail
# Names are bytes, and so are their lengths.
export LC_ALL=C

# What find's tests in the arguments leave of the current folder, each printed as the last says.
list() { find . -xdev -path ./lost+found -prune -o "${@:1:$#-1}" -printf "${!#}" | sort -z; }

attributes() {
    list \( -type f -o -type l \) '%p %y %m %U:%G %T@ %s %l\0'
    list ! \( -type f -o -type l \) '%p %y %m %U:%G %T@\0'
}

devices() { list \( -type b -o -type c \) '%p\0' | on_each stat --printf '%n %t:%T\0'; }

# The names of each file that has several, after the first of them.
names_of_one_file() {
    local -A first=()
    local inode path
    while IFS=' ' read -r -d '' inode path; do
        printf '%s is %s\0' "$path" "${first[$inode]:=$path}"
    done < <(list ! -type d -links +1 '%i %p\0' | sort -z -t ' ' -k 2)
}

extended_attributes() {
    list -true '%p\0' | on_each getfattr -h -d -e hex -m '^(user|trusted)\.|^security\.capability$'
}

acls() { list ! -type l '%p\0' | on_each getfacl -p -n -s; }

content() { list -type f '%p\0' | on_each sha256sum; }

# Runs a command on the paths that come in; from nearby where a path is longer than PATH_MAX allows.
on_each() {
    local path
    cat >"$work/paths"
    perl -0 -ne 'print if length() <= 4000' "$work/paths" | xargs -0 -r "$@" --
    perl -0 -ne 'print if length() > 4000' "$work/paths" | while IFS= read -r -d '' path; do
        printf '%s\n' "$path"
        (descend "${path%/*}" && "$@" -- "./${path##*/}")
    done
}

# Goes to a folder step by step.
descend() {
    local rest=$1/
    while [ -n "$rest" ]; do
        cd -P -- "./${rest%%/*}"
        rest=${rest#*/}
    done
}

# Makes the list `$1` of both trees and shows where they differ.
compare() {
    (cd "$a" && "$1") >"$work/a"
    (cd "$b" && "$1") >"$work/b"
    if cmp -s "$work/a" "$work/b"; then
        printf '%-20s equal, %s bytes of it\n' "${1//_/ }" "$(stat -c %s "$work/a")"
        return
    fi
    printf '%-20s DIFFERENT (< %s, > %s)\n' "${1//_/ }" "$a" "$b"
    { diff <(lines <"$work/a") <(lines <"$work/b") || true; } | cut -c -300 | cat -v | head -40
    different=1
}

# Records that end in NUL, one to a line.
lines() { tr '\0' '\n'; }

[ $# -eq 2 ] || { echo 'usage: demo/compare.sh A B' >&2; exit 2; }
a=$(cd "$1" && pwd)
b=$(cd "$2" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
different=0

for what in attributes devices names_of_one_file extended_attributes acls content; do
    compare "$what"
done
printf '%-20s %s and %s KiB\n' 'disk space' "$(du -skx "$a" | cut -f1)" "$(du -skx "$b" | cut -f1)"
[ "$different" -eq 0 ] || exit 1
echo 'Both trees are equal.'
