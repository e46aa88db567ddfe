# The functions of a program, as nm lists them, that a daemon calls while it serves: awk -f names.awk -f serving.awk serving.txt -

FNR == NR {
    known[$0]
    names++
    # Functions of C lie in libraries, which nm was not given.
    if ($0 !~ /^_/) print
    next
}

NF == 3 && $2 ~ /^[tT]$/ {
    count = paths($3, found)
    for (i = 1; i <= count; i++) if (found[i] in known) {
        met[found[i]]
        print $3
        break
    }
}

END {
    for (name in known) if (name ~ /^_/ && !(name in met)) missing++
    # They have other names now, or are mangled in another way: nothing would lie together.
    if (missing * 2 > names) exit 1
}
