# serving.txt, of the addresses of what was called and of `nm -S -t d`: awk -f names.awk -f find.awk CALLED FUNCTIONS
# Where nearly all of a module or a type is called, it is named instead of its functions.

FNR == NR {
    called[$1 + 0]
    next
}

NF == 4 && $3 ~ /^[tTwW]$/ {
    count = paths($4, found)
    is_called = ($1 + 0) in called
    for (i = 1; i <= count; i++) {
        all[found[i]] += $2
        if (is_called) part[found[i]] += $2
    }
    if (is_called) wanted[$4]
}

END {
    for (name in wanted) {
        count = paths(name, found)
        for (i = 1; i < count && part[found[i]] < 0.9 * all[found[i]]; i++);
        print found[i]
    }
}
