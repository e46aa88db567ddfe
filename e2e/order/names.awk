# What a mangled name lies in: awk -f names.awk -f ...

# Fills found with the paths from the crate down to the function itself, whose path ends with E; without hashes, which another
# version of the crate changes. Returns how many.
function paths(name, found,    at, count, path, size) {
    sub(/(\.llvm)?\.[0-9]+$/, "", name)
    # One for each type, most of which are dropped some time.
    if (name ~ /^_ZN4core3ptr[0-9]+drop_in_place/) name = "_ZN4core3ptr13drop_in_place17h0E"
    if (name !~ /^_ZN/) {
        gsub(/Cs[0-9A-Za-z]+_/, "C", name)
        found[1] = name
        return 1
    }
    path = "_ZN"
    for (at = 4; match(substr(name, at), /^[0-9]+/); at += size) {
        size = RLENGTH + substr(name, at, RLENGTH)
        if (substr(name, at) ~ /^17h[0-9a-f]+E$/) path = path "E"
        else path = path substr(name, at, size)
        found[++count] = path
    }
    return count
}
