//! Mounts.

use super::{Applied, ApplyError, without_nul};
use crate::api::Mount;
use crate::merge::marked;
use model::Propagation;
use oci::OciError;
use oci_spec::runtime::{self as spec, Spec};
use std::path::{Component, Path, PathBuf};

/// An option that asks for a label, and that no mount has.
const RELABEL: &str = "relabel";

pub(super) fn apply(spec: &mut Spec, asked: &[Mount], applied: &mut Applied) -> Result<(), ApplyError> {
    if asked.is_empty() {
        return Ok(());
    }
    let mut all = spec.mounts().clone().unwrap_or_default();
    for one in asked {
        let place = Path::new(marked(&one.destination).unwrap_or(&one.destination));
        all.retain(|known| known.destination() != place);
        if marked(&one.destination).is_some() {
            continue;
        }
        let (made, propagation) = mount(one, applied)?;
        if let (Some(propagation), Some(linux)) = (propagation, spec.linux_mut()) {
            share_root(linux, propagation);
        }
        all.retain(|known| known.destination() != made.destination());
        all.push(made);
    }
    // What lies deeper comes later, or it would be hidden.
    all.sort_by(|one, two| {
        let key = |mount: &spec::Mount| (depth(mount.destination()), mount.destination().clone());
        key(one).cmp(&key(two))
    });
    spec.set_mounts(Some(all));
    Ok(())
}

fn depth(path: &Path) -> usize {
    path.components().filter(|part| matches!(part, Component::Normal(_))).count()
}

fn mount(asked: &Mount, applied: &mut Applied) -> Result<(spec::Mount, Option<Propagation>), ApplyError> {
    let field = format!("mounts {:?}", asked.destination);
    let oci = || ApplyError::oci(&field);
    without_nul(&field, &asked.source)?;
    let source = (!asked.source.is_empty()).then(|| PathBuf::from(&asked.source));
    let place = oci::spec::destination("destination", &asked.destination, source.as_deref()).map_err(oci())?;
    let mut options = asked.options.clone();
    let words = |word: &str| asked.options.iter().any(|option| option == word);
    let is_bind = asked.r#type == "bind" || words("bind") || words("rbind");
    let propagation = match asked.options.iter().rev().find_map(|word| propagation_of(word)) {
        Some(Propagation::Private) | None => None,
        other => other,
    };
    if is_bind {
        let source = source.as_deref().ok_or_else(|| ApplyError::refused(field.as_str(), "has no source"))?;
        let missing =
            |error| OciError::Missing { field: "source".into(), path: source.into(), source: error };
        std::fs::metadata(source).map_err(missing).map_err(oci())?;
        if let Some(propagation) = propagation {
            oci::spec::needs_sharing("options", source, propagation).map_err(oci())?;
        }
        if words(RELABEL) {
            applied.relabel.push(source.to_path_buf());
        }
    }
    options.retain(|word| word != RELABEL);
    let mut made = spec::Mount::default();
    made.set_destination(place)
        .set_typ((!asked.r#type.is_empty()).then(|| asked.r#type.clone()))
        .set_source(source)
        .set_options((!options.is_empty()).then_some(options));
    Ok((made, propagation))
}

fn propagation_of(word: &str) -> Option<Propagation> {
    Some(match word {
        "rprivate" => Propagation::Private,
        "rslave" => Propagation::HostToContainer,
        "rshared" => Propagation::Bidirectional,
        _ => return None,
    })
}

/// The root lets through what a mount in it is to let through.
fn share_root(linux: &mut spec::Linux, propagation: Propagation) {
    let held = linux.rootfs_propagation().as_deref().unwrap_or_default();
    let next = match propagation {
        Propagation::Private => return,
        Propagation::HostToContainer if matches!(held, "rshared" | "rslave") => return,
        Propagation::HostToContainer => "rslave",
        Propagation::Bidirectional => "rshared",
    };
    linux.set_rootfs_propagation(Some(next.to_owned()));
}
