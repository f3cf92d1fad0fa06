#!/bin/sh
# run.sh - explores the lock-free parts of stages 5 and 6, then proves that the
# exploring is worth something: every bug of bugs.txt must be found.
#
#   stages/tests/verify/run.sh [BUILD_DIR] [NAME]      NAME: only this bug
set -eu
unset CDPATH

here=$(cd "$(dirname "$0")" && pwd)
stages=$(cd "$here/../.." && pwd)
out=${1:-build/verify}
only=${2:-}
cc=${CC:-gcc}
flags="-std=gnu17 -O2 -g -D_GNU_SOURCE -DVERIFY -Wall -Wextra -Wno-psabi"

mkdir -p "$out"
out=$(cd "$out" && pwd)

compile() { # source, object, more flags: with the tree the source is in
    dir=$(dirname "$1")
    $cc $flags ${3:-} -I "$dir" -I "$dir/../.." \
        -I "$stages/../common" -c -o "$2" "$1"
}

link_bug() { # header: compiles anew what includes it, and links the rest
    objects=
    for source in "$out"/tree/tests/verify/scene*.c; do
        name=$(basename "$source" .c)
        if grep -q "$(basename "$1")" "$source" || [ "$name.c" = "${1##*/}" ]
        then
            compile "$source" "$out/bug-$name.o" -w
            objects="$objects $out/bug-$name.o"
        else
            objects="$objects $out/$name.o"
        fi
    done
    $cc -o "$out/bug" $objects "$out/litmus.o" "$out/explore.o" \
        "$out/main.o"
}

plant() { # header, sed script: in a copy of the tree at $out/tree
    rm -rf "$out/tree"
    mkdir -p "$out/tree/tests"
    cp -R "$stages/parts" "$stages/5-percore" "$stages/6-stealing" "$out/tree/"
    cp -R "$here" "$out/tree/tests/verify"
    sed -E "$2" "$stages/$1" > "$out/tree/$1"
    if cmp -s "$stages/$1" "$out/tree/$1"; then
        echo "the script changes nothing in $1: $2" >&2
        return 1
    fi
}

objects=
for source in "$here"/*.c; do
    object=$out/$(basename "$source" .c).o
    compile "$source" "$object"
    objects="$objects $object"
done
$cc -o "$out/explore" $objects
if [ -z "$only" ]; then
    echo "== the sources as they are: every interleaving is right"
    "$out/explore"
    echo "== planted bugs: each must be found"
fi

found=0 missed=0
while IFS='|' read -r name header scenario script what; do
    bug=$(echo $name) header=$(echo $header) scenario=$(echo $scenario)
    case $bug in '' | '#'*) continue ;; esac
    [ -z "$only" ] || [ "$only" = "$bug" ] || continue
    plant "$header" "$script"
    link_bug "$header"
    echo "$bug:$what"
    if "$out/bug" --hunt "$scenario" > "$out/$bug.txt" 2>&1; then
        found=$((found + 1))
    else
        missed=$((missed + 1))
        echo "  NOT FOUND"
    fi
    if [ -n "$only" ]; then
        cat "$out/$bug.txt"
    else
        grep '^  [a-z]' "$out/$bug.txt"
    fi
done < "$here/bugs.txt"

echo "$found planted bugs found, $missed missed; schedules in $out/*.txt"
[ "$missed" -eq 0 ] && [ "$found" -gt 0 ]
