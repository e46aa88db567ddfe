//! Writes the man pages of `corten` into a directory: `corten-man DIRECTORY`. Packages have what it writes; it is installed
//! nowhere.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(directory) = std::env::args_os().nth(1) else {
        eprintln!("usage: corten-man DIRECTORY");
        return ExitCode::from(2);
    };
    match write(Path::new(&directory)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("corten-man: cannot write man pages into {}: {error}", Path::new(&directory).display());
            ExitCode::FAILURE
        }
    }
}

/// A page for each command that people use, `corten-image-pull.1` for `corten image pull`.
fn write(directory: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(directory)?;
    // It would make `corten help` a command with a page.
    clap_mangen::generate_to(cli::definition().disable_help_subcommand(true), directory)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    /// Names of pages, and what they say first.
    fn pages(command: &clap::Command, name: &str, into: &mut Vec<(String, String)>) {
        into.push((name.to_owned(), command.get_about().unwrap().to_string()));
        for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
            pages(sub, &format!("{name}-{}", sub.get_name()), into);
        }
    }

    #[test]
    fn each_command_for_people_has_a_page() {
        let directory = tempfile::tempdir().unwrap();
        super::write(directory.path()).unwrap();
        let mut wanted = Vec::new();
        pages(&cli::definition(), "corten", &mut wanted);
        assert!(wanted.len() > 15, "{wanted:?}");
        for (name, about) in &wanted {
            let page = std::fs::read_to_string(directory.path().join(format!("{name}.1"))).unwrap();
            let plain = page.replace(r"\*(Aq", "'").replace('\\', "");
            assert!(plain.contains(about.as_str()), "{name}: {page}");
        }
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), wanted.len());
    }
}
