#!/bin/sh
# run.sh - explores the lock-free parts of stages 5 and 6, then proves that the
# exploring is worth something: every bug of bugs.txt must be found.
#
#   stages/tests/verify/run.sh [BUILD_DIR] [NAME]      NAME: only this bug
set -eu

here=$(cd "$(dirname "$0")" && pwd)
stages=$(cd "$here/../.." && pwd)
out=${1:-build/verify}
only=${2:-}
cc=${CC:-gcc}
flags="-std=gnu17 -O2 -g -D_GNU_SOURCE -DVERIFY -Wall -Wextra"

mkdir -p "$out"
out=$(cd "$out" && pwd)

build() { # directory with the stages, program
    $cc $flags -w -I "$1/tests/verify" -o "$2" "$1"/tests/verify/scene*.c \
        "$1"/tests/verify/litmus.c "$out/explore.o"
}

plant() { # header, sed script: in a copy of the tree at $out/tree
    rm -rf "$out/tree"
    mkdir -p "$out/tree/tests"
    cp -R "$stages/5-percore" "$stages/6-stealing" "$out/tree/"
    cp -R "$here" "$out/tree/tests/verify"
    sed -E "$2" "$stages/$1" > "$out/tree/$1"
    if cmp -s "$stages/$1" "$out/tree/$1"; then
        echo "the script changes nothing in $1: $2" >&2
        return 1
    fi
}

$cc $flags -I "$here" -c -o "$out/explore.o" "$here/explore.c"
$cc $flags -I "$here" -o "$out/explore" "$here"/scene*.c \
    "$here/litmus.c" "$out/explore.o"
if [ -z "$only" ]; then
    echo "== the sources as they are: every interleaving is right"
    "$out/explore"
    echo "== planted bugs: each must be found"
fi

found=0 missed=0
while IFS='|' read -r name header scenario script what; do
    name=$(echo $name) header=$(echo $header) scenario=$(echo $scenario)
    case $name in '' | '#'*) continue ;; esac
    [ -z "$only" ] || [ "$only" = "$name" ] || continue
    plant "$header" "$script"
    build "$out/tree" "$out/bug"
    echo "$name:$what"
    if "$out/bug" --hunt "$scenario" > "$out/$name.txt" 2>&1; then
        found=$((found + 1))
    else
        missed=$((missed + 1))
        echo "  NOT FOUND"
    fi
    if [ -n "$only" ]; then
        cat "$out/$name.txt"
    else
        grep '^  [a-z]' "$out/$name.txt"
    fi
done < "$here/bugs.txt"

echo "$found planted bugs found, $missed missed; schedules in $out/*.txt"
[ "$missed" -eq 0 ] && [ "$found" -gt 0 ]
