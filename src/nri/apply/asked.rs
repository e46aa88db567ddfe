//! Which plugins have asked for what is refused.

use crate::api::{Field, FieldOwners};
use crate::merge::marked;
use std::collections::BTreeSet;

/// Fields of the adjustment as errors name them, with what their owners are noted by; what is more exact comes first.
const FIELDS: [(&str, &[Field]); 24] = [
    ("annotations", &[Field::Annotations]),
    ("env", &[Field::Env]),
    ("args", &[Field::Args]),
    ("hooks", &[Field::OciHooks]),
    ("mounts", &[Field::Mounts]),
    ("rlimits", &[Field::Rlimits]),
    ("CDI_devices", &[Field::CdiDevices]),
    ("linux.devices", &[Field::Devices]),
    ("linux.cgroups_path", &[Field::CgroupsPath]),
    ("linux.oom_score_adj", &[Field::OomScoreAdj]),
    ("linux.io_priority", &[Field::IoPriority]),
    ("linux.scheduler", &[Field::LinuxSched]),
    ("linux.seccomp_policy", &[Field::SeccompPolicy]),
    ("linux.namespaces", &[Field::Namespace]),
    ("linux.sysctl", &[Field::Sysctl]),
    ("linux.net_devices", &[Field::LinuxNetDevices]),
    ("linux.memory_policy", &[Field::MemoryPolicy]),
    ("linux.resources.blockio_class", &[Field::BlockioClass]),
    ("linux.resources.rdt_class", &[Field::RdtClass]),
    ("linux.resources.unified", &[Field::CgroupsUnified]),
    ("linux.resources.hugepage_limits", &[Field::HugepageLimits]),
    ("linux.resources.pids", &[Field::PidsLimit]),
    ("linux.resources", &LIMITS),
    ("linux.rdt", &[Field::RdtClosId, Field::RdtSchemata, Field::RdtEnableMonitoring]),
];
const LIMITS: [Field; 18] = [
    Field::MemLimit,
    Field::MemReservation,
    Field::MemSwapLimit,
    Field::MemKernelLimit,
    Field::MemTcpLimit,
    Field::MemSwappiness,
    Field::MemDisableOomKiller,
    Field::MemUseHierarchy,
    Field::CpuShares,
    Field::CpuQuota,
    Field::CpuPeriod,
    Field::CpuRealtimeRuntime,
    Field::CpuRealtimePeriod,
    Field::CpuSetCpUs,
    Field::CpuSetMems,
    Field::PidsLimit,
    Field::HugepageLimits,
    Field::CgroupsUnified,
];

/// The plugins that own a field as an error names it: of one entry, where it names that; of all fields, where it is none
/// of the list.
pub fn for_field(field: &str, owners: &FieldOwners) -> Vec<String> {
    let known = FIELDS.iter().find(|(name, _)| field.starts_with(name)).map(|(_, fields)| *fields);
    let is_it = |number: &i32| known.is_none_or(|fields| fields.iter().any(|one| *one as i32 == *number));
    let simple = owners.simple.iter().filter(|(number, _)| is_it(number)).map(|(_, owner)| owner);
    let entries = owners.compound.iter().filter(|(number, _)| is_it(number));
    let entries: Vec<(&String, &String)> = entries.flat_map(|(_, entries)| &entries.owners).collect();
    let is_named = |key: &str| field.contains(&format!("{key:?}"));
    let one_is_named = entries.iter().any(|(key, _)| is_named(key));
    let entries = entries.iter().filter(|(key, _)| !one_is_named || is_named(key)).map(|(_, owner)| *owner);
    // Several who add to one field are noted together.
    let names = simple.chain(entries).flat_map(|owners| owners.split(','));
    let names: BTreeSet<&str> = names.map(|owner| marked(owner).unwrap_or(owner)).collect();
    names.into_iter().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::CompoundFieldOwners;

    #[test]
    fn who_asked_is_known_by_the_field_and_its_entry() {
        let entries = |all: &[(&str, &str)]| CompoundFieldOwners {
            owners: all.iter().map(|(key, owner)| ((*key).to_owned(), (*owner).to_owned())).collect(),
        };
        let owners = FieldOwners {
            simple: [
                (Field::OciHooks as i32, "10-a,20-b".to_owned()),
                (Field::MemKernelLimit as i32, "30-c".to_owned()),
            ]
            .into(),
            compound: [
                (Field::Env as i32, entries(&[("A", "10-a"), ("B=yes", "20-b")])),
                (Field::Devices as i32, entries(&[("/dev/one", "40-d")])),
            ]
            .into(),
        };
        for (field, names) in [
            ("env \"B=yes\"", &["20-b"][..]),
            ("env", &["10-a", "20-b"]),
            ("hooks.create_runtime", &["10-a", "20-b"]),
            ("linux.devices \"/dev/one\"", &["40-d"]),
            ("linux.resources.memory.kernel", &["30-c"]),
            ("linux.scheduler", &[]),
        ] {
            assert_eq!(for_field(field, &owners), names, "{field}");
        }
        assert_eq!(for_field("process", &owners).len(), 4);
    }
}
