//! What tests need of their host. A test that cannot run says so here and passes; the run counts and names it at its end,
//! and where the need was promised, it is a failure. For tests alone: nothing that is installed has it.
//!
//! `CORTEN_REQUIRE=root,tools` promises needs, `CORTEN_WITHOUT=root` does as if this process were not root, and
//! `CORTEN_SKIPS` names the file that gets a line for each test that was skipped.

use std::fmt;
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::MetadataExt;

/// What a host may lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// This process is root, with the capabilities of the initial user namespace.
    Root,
    /// Programs that `e2e/setup.sh test` installs, or that `make build` makes.
    Tools,
    /// Something of the kernel, of its configuration or of a filesystem.
    Kernel,
    /// Something of the system that no package of the tests brings: systemd as process 1, for one.
    System,
    /// The runtime under test is Corten: others do not promise it.
    Corten,
    /// A figure is asked for (`CORTEN_MEASURE`): no test of behaviour.
    Measurement,
}

impl Need {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Root, Self::Tools, Self::Kernel, Self::System, Self::Corten, Self::Measurement];

    /// As `CORTEN_REQUIRE` has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Tools => "tools",
            Self::Kernel => "kernel",
            Self::System => "system",
            Self::Corten => "corten",
            Self::Measurement => "measurement",
        }
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Whether this process is root; if not, the test that asks is skipped for this reason.
///
/// # Panics
/// As [`skip`].
pub fn root(why: &str) -> bool {
    let withheld = std::env::var("CORTEN_WITHOUT").is_ok_and(|list| names(&list).contains(&Need::Root));
    let root = !withheld && std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
    if !root {
        skip(Need::Root, why);
    }
    root
}

/// Says that the test of this thread is skipped, and why; it returns next.
///
/// # Panics
/// When the need was promised, which makes the test fail, or when the run cannot note it.
pub fn skip(need: Need, why: &str) {
    println!("skipped: {why}");
    if let Ok(list) = std::env::var("CORTEN_REQUIRE") {
        assert!(!names(&list).contains(&need), "skipped where CORTEN_REQUIRE promises {need}: {why}");
    }
    let Some(path) = std::env::var_os("CORTEN_SKIPS") else { return };
    // One write, so that tests side by side do not tear each other's lines.
    let line = format!("{need}\t{}\t{}\n", test(), why.replace(['\n', '\t'], " "));
    let noted = OpenOptions::new().create(true).append(true).open(&path);
    if let Err(error) = noted.and_then(|mut file| file.write_all(line.as_bytes())) {
        panic!("cannot note a skipped test in {}: {error}", path.display());
    }
}

/// The needs of a list; a name that is none must not make a promise void.
fn names(list: &str) -> Vec<Need> {
    let one = |name: &str| {
        let found = Need::ALL.into_iter().find(|need| need.name() == name);
        found.unwrap_or_else(|| {
            panic!("{name:?} is no need of a test: {}", Need::ALL.map(Need::name).join(", "))
        })
    };
    list.split(',').map(str::trim).filter(|name| !name.is_empty()).map(one).collect()
}

/// The test program, without the digits that cargo puts behind it, and the test.
fn test() -> String {
    let program = std::env::current_exe().unwrap_or_default();
    let program = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let name = program.rsplit_once('-').map_or(program.as_str(), |(name, _)| name);
    format!("{name}::{}", std::thread::current().name().unwrap_or("main"))
}
