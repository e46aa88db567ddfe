//! Failpoints: places in the code, each with a name, at which a test has the program die, fail or wait.
//!
//! A site stands behind a step: `failpoint::reach!("engine.run.recorded")?` where the step could have failed, and
//! `failpoint::pass!("engine.run.published")` where it could not. The names are those of [`POINTS`], in one list; another
//! one does not compile. The matrix of `e2e/tests/kill` goes through the list.
//!
//! Without the feature `armed` a site is nothing, and nothing of this crate is in a program; so are all programs that are
//! installed, which `e2e/build.sh` checks. With it, a program does what its environment says ([`setting`]).

#[cfg(feature = "armed")]
mod armed;
mod names;
pub mod setting;

pub use names::{POINTS, Point};
pub use setting::SettingError;

#[cfg(feature = "armed")]
pub use armed::{arm, descriptor, environment};

/// A place in the code, by its place in the list.
#[derive(Debug, Clone, Copy)]
pub struct Site(&'static Point);

impl Site {
    /// Where a step could have failed. In a constant: a name that is not on the list, or not so, does not compile.
    #[must_use]
    pub const fn fallible(name: &str) -> Self {
        let point = names::find(name);
        assert!(point.can_fail, "the list says that this failpoint cannot fail: use pass!");
        Self(point)
    }

    /// The same where it could not.
    #[must_use]
    pub const fn infallible(name: &str) -> Self {
        let point = names::find(name);
        assert!(!point.can_fail, "the list says that this failpoint can fail: use reach!");
        Self(point)
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.0.name
    }
}

/// What a step ends with that was made to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("failpoint {name}")]
pub struct Injected {
    /// The failpoint.
    pub name: &'static str,
    /// The kernel's number of the error.
    pub errno: i32,
}

impl From<Injected> for std::io::Error {
    fn from(injected: Injected) -> Self {
        Self::from_raw_os_error(injected.errno)
    }
}

/// A step is done that could have failed. Use [`reach!`].
///
/// # Errors
/// Never without the feature `armed`.
#[inline(always)]
pub fn reached(site: Site) -> Result<(), Injected> {
    #[cfg(feature = "armed")]
    return armed::hit(site);
    #[cfg(not(feature = "armed"))]
    {
        let _ = site;
        Ok(())
    }
}

/// A step is done. Use [`pass!`].
#[inline(always)]
pub fn passed(site: Site) {
    // A setting that would have it fail is refused at the start.
    let _ = reached(site);
}

/// A site behind a step that could have failed: `failpoint::reach!("engine.run.recorded")?`.
#[macro_export]
macro_rules! reach {
    ($name:literal) => {{
        const SITE: $crate::Site = $crate::Site::fallible($name);
        $crate::reached(SITE)
    }};
}

/// A site behind a step that cannot fail: `failpoint::pass!("engine.run.published")`.
#[macro_export]
macro_rules! pass {
    ($name:literal) => {{
        const SITE: $crate::Site = $crate::Site::infallible($name);
        $crate::passed(SITE)
    }};
}

/// Reads what the environment says; nothing without the feature `armed`.
///
/// # Errors
/// What is wrong with it.
#[cfg(not(feature = "armed"))]
#[inline(always)]
pub fn arm() -> Result<(), SettingError> {
    Ok(())
}

/// A descriptor that a child must keep which closes what it has; none without the feature `armed`.
#[cfg(not(feature = "armed"))]
#[inline(always)]
#[must_use]
pub fn descriptor() -> Option<std::os::fd::RawFd> {
    None
}

/// What a program that is started must find in its environment to do the same; nothing without the feature `armed`.
#[cfg(not(feature = "armed"))]
#[inline(always)]
#[must_use]
pub fn environment() -> Vec<std::ffi::CString> {
    Vec::new()
}
