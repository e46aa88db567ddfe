//! References, registries, pulls, layers and the image store.
//!
//! [`ImageStore`] is the door: `pull` an image, `list`, `find` and `remove` images, `hold` one for a container.
//! A pull is one stream a layer, verified and unpacked while it comes in (`unpack`), into directories by diff
//! id that overlays stack (`store`), from the hosts that `certs.d` names (`hosts`) over `registry`.
//! Of each layer an outline stays (`unpack::outline`), by which it can be held against its diff id (`verify`) and saved
//! (`save`).

mod aside;
mod config;
mod digest;
mod error;
mod explain;
mod flight;
pub mod fuzz;
mod glob;
mod hosts;
mod image_store;
mod manifest;
mod metrics;
mod patterns;
mod policy;
mod progress;
mod pull;
mod reference;
mod registry;
mod save;
mod store;
mod unpack;
mod usage;
mod verify;

pub use config::ImageConfig;
pub use digest::{Digest, DigestError};
pub use error::ImageError;
pub use explain::{ExplainedHost, ExplainedLayer, Explanation};
pub use hosts::{CertsDirs, HostsError, without_users};
pub use image_store::ImageStore;
pub use manifest::{ImageDescription, ManifestError, RunConfig};
pub use patterns::ImageSettingProblem;
pub use policy::PolicyError;
pub use progress::{LayerPhase, LayerProgress, PullProgress};
pub use pull::{Adopted, Adoption, Left, Loaded, LoadedImage};
pub use reference::{Reference, ReferenceError};
pub use registry::{Answer, Credentials, HostAnswer, TokenProblem, Tried, Tries};
pub use save::Saving;
pub use store::Image;
pub use unpack::{TarError, UnpackError};
pub use usage::{DiskUsage, ImageUsage, Pruned};
pub use verify::{Damage, Part, VerifiedImage};
