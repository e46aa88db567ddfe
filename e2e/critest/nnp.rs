//! `/nnp` of the image nonewprivs: says as whom it runs, which its setuid bit decides where new privileges are allowed.

fn main() {
    println!("Effective uid: {}", nix::unistd::geteuid());
}
