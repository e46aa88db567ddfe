//! `make image`: the chart's image.

use e2e::error::Context;
use e2e::{Error, installer, tools};

/// Writes it.
///
/// # Errors
/// When the programs were not built, or it cannot be written.
pub(crate) fn write() -> Result<(), Error> {
    let version = env!("CARGO_PKG_VERSION");
    let directory = tools::repository().join("target/packages");
    std::fs::create_dir_all(&directory).at("create", &directory)?;
    let path = directory.join(format!("corten-{version}-image-{}.tar", e2e::image::architecture()));
    installer::archive(&installer::image(&tools::dist())?, &format!("corten:{version}"), &path)?;
    println!("image: {}", path.display());
    Ok(())
}
