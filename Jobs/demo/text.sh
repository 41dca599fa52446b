#!/bin/sh
# Makes the demo's texts from Debian packages: text.sh kjv|jargon. Both are in the public domain.
set -eu
cd "$(dirname "$0")"
mkdir -p text
case "${1:-}" in
kjv)
    # The King James Bible from bible-kjv: a verse a line, a blank line between chapters.
    echo "Gen1:1-Rev22:21" | bible -f 2>/dev/null | awk '
        match($0, /^[0-9A-Za-z]+[0-9]+:[0-9]+ /) {
            place = substr($0, 1, RLENGTH)
            if (place == verse) next  # the program greets with the first verse
            verse = place
            sub(/:.*/, "", place)
            if (chapter != "" && place != chapter) print ""
            chapter = place
            print substr($0, RLENGTH + 1)
        }' > text/kjv.tmp
    mv text/kjv.tmp text/kjv.txt ;;
jargon)
    # The Jargon File from dict-jargon: without the database's own header, paragraphs unwrapped, quotes in ASCII.
    zcat /usr/share/dictd/jargon.dict.dz | awk '/^\(TM\)$/ { seen = 1 } seen' |
        sed -e 's/“/"/g; s/”/"/g' -e "s/‘/'/g; s/’/'/g" |
        awk -v RS= -v ORS='\n\n' '/^ / { gsub(/[ \n]+/, " "); sub(/^ /, "") } { print }' > text/jargon.tmp
    mv text/jargon.tmp text/jargon.txt ;;
*)
    echo "usage: text.sh kjv|jargon" >&2
    exit 64 ;;
esac
