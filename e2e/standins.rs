//! What stands in for the images of upstream's suites, made of Debian's packages: their registries cannot be reached from
//! everywhere.

use crate::error::Error;
use crate::layer::Layer;
use crate::rootfs::Rootfs;
use crate::tools;

/// The users of an image, as in `/etc/passwd`.
pub const USERS: &str = "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/bin/false\n\
    bin:x:2:2:bin:/bin:/bin/false\nwww-data:x:33:33:www-data:/var/www:/bin/false\n\
    nobody:x:65534:65534:nobody:/home:/bin/false\n";
/// The groups of an image, as in `/etc/group`.
pub const GROUPS: &str = "root:x:0:\ndaemon:x:1:\nbin:x:2:\nwww-data:x:33:\nnogroup:x:65534:\n";

/// Busybox with what specs want of a full system: pgrep of procps, ipcs of util-linux.
///
/// # Errors
/// When a package is missing.
pub fn shell(users: &str, groups: &str) -> Result<Layer, Error> {
    let mut root = Rootfs::default();
    for directory in ["bin", "dev", "etc", "home", "proc", "root", "run", "sys", "usr/bin", "var/www"] {
        root = root.directory(directory, 0o755);
    }
    root = root.directory("tmp", 0o1777).symlink("var/run", "/run");
    for program in ["pgrep", "ipcs"] {
        root = root.program(&tools::system(program)?, &format!("bin/{program}"), 0o755)?;
    }
    Ok(root.busybox()?.file("etc/passwd", 0o644, users).file("etc/group", 0o644, groups).layer())
}

/// nginx with the directories that Debian's package makes for it.
///
/// # Errors
/// When the package is missing.
pub fn nginx() -> Result<Layer, Error> {
    let mut root = Rootfs::default().program(&tools::system("nginx")?, "usr/sbin/nginx", 0o755)?;
    for directory in ["var/lib/nginx", "var/log/nginx", "etc/nginx", "usr/share/nginx/html"] {
        root = root.directory(directory, 0o755);
    }
    let page = "<!DOCTYPE html>\n<title>Welcome to nginx!</title>\n<h1>Welcome to nginx!</h1>\n";
    Ok(root.file("usr/share/nginx/html/index.html", 0o644, page).layer())
}

/// The configuration of an nginx that serves its page on a port.
pub fn site(port: u16) -> String {
    format!(
        "user www-data;\nworker_processes 1;\npid /run/nginx.pid;\nerror_log /dev/stderr;\n\
         events {{ worker_connections 64; }}\n\
         http {{ access_log off; server {{ listen {port}; root /usr/share/nginx/html; }} }}\n"
    )
}
