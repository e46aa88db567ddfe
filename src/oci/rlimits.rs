//! Resource limits of processes, as operators write them: `nofile = "1024:524288"`.

use crate::error::{OciError, OciResult};
use oci_spec::runtime::{PosixRlimit, PosixRlimitBuilder, PosixRlimitType};
use rustix::process::{Resource, getrlimit};
use std::collections::BTreeMap;

const NAMES: [(&str, PosixRlimitType, Resource); 16] = [
    ("as", PosixRlimitType::RlimitAs, Resource::As),
    ("core", PosixRlimitType::RlimitCore, Resource::Core),
    ("cpu", PosixRlimitType::RlimitCpu, Resource::Cpu),
    ("data", PosixRlimitType::RlimitData, Resource::Data),
    ("fsize", PosixRlimitType::RlimitFsize, Resource::Fsize),
    ("locks", PosixRlimitType::RlimitLocks, Resource::Locks),
    ("memlock", PosixRlimitType::RlimitMemlock, Resource::Memlock),
    ("msgqueue", PosixRlimitType::RlimitMsgqueue, Resource::Msgqueue),
    ("nice", PosixRlimitType::RlimitNice, Resource::Nice),
    ("nofile", PosixRlimitType::RlimitNofile, Resource::Nofile),
    ("nproc", PosixRlimitType::RlimitNproc, Resource::Nproc),
    ("rss", PosixRlimitType::RlimitRss, Resource::Rss),
    ("rtprio", PosixRlimitType::RlimitRtprio, Resource::Rtprio),
    ("rttime", PosixRlimitType::RlimitRttime, Resource::Rttime),
    ("sigpending", PosixRlimitType::RlimitSigpending, Resource::Sigpending),
    ("stack", PosixRlimitType::RlimitStack, Resource::Stack),
];

const NO_LIMIT: u64 = u64::MAX;

/// Limits by their index in the table; `None`: what the runtime itself has.
type Limits = BTreeMap<usize, Option<(u64, u64)>>;

/// What processes of containers are limited to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rlimits(Limits);

impl Rlimits {
    /// Takes names and values: `SOFT:HARD`, or one number for both; `unlimited` is a number too, and an empty value
    /// leaves what the runtime itself has.
    ///
    /// # Errors
    /// [`OciError::Invalid`] naming `field`.
    pub fn parse(field: &str, values: &BTreeMap<String, String>) -> OciResult<Self> {
        let one = |(name, value): (&String, &String)| {
            let index = NAMES.iter().position(|(known, ..)| known == name).ok_or_else(|| {
                let known: Vec<&str> = NAMES.iter().map(|(known, ..)| *known).collect();
                OciError::invalid(field, format!("`{name}` is no limit; there are {}", known.join(", ")))
            })?;
            let limit = if value.is_empty() { None } else { Some(pair(value)) };
            match limit {
                Some(None) => Err(OciError::invalid(
                    field,
                    format!(
                        "{name} = {value:?}, expected \"SOFT:HARD\" with SOFT no more than HARD, or one number"
                    ),
                )),
                limit => Ok((index, limit.flatten())),
            }
        };
        values.iter().map(one).collect::<OciResult<Limits>>().map(Self)
    }

    /// These, with others in the place of those of the same names.
    #[must_use]
    pub fn with(&self, others: &Self) -> Self {
        Self(self.0.iter().chain(&others.0).map(|(index, limit)| (*index, *limit)).collect())
    }

    /// For the spec of a process, no higher than the host allows: a process without `CAP_SYS_RESOURCE` keeps within
    /// the hard limit that it has, and nobody opens more files than the kernel's most.
    ///
    /// # Errors
    /// None known.
    pub fn spec(&self, host: &Ceilings) -> OciResult<Vec<PosixRlimit>> {
        let limits = self.0.iter().filter_map(|(index, limit)| Some((*index, (*limit)?)));
        limits
            .filter_map(|(index, (soft, hard))| {
                let (_, kind, _) = NAMES.get(index)?;
                let most = host.0.get(index).copied().unwrap_or(NO_LIMIT);
                let limit =
                    PosixRlimitBuilder::default().typ(*kind).soft(soft.min(most)).hard(hard.min(most));
                Some(limit.build().map_err(OciError::from))
            })
            .collect()
    }

    /// What of these the host does not allow, in words.
    pub fn above(&self, host: &Ceilings) -> Vec<String> {
        let limits = self.0.iter().filter_map(|(index, limit)| Some((*index, (*limit)?)));
        limits
            .filter_map(|(index, (_, hard))| {
                let most = host.0.get(index).copied().unwrap_or(NO_LIMIT);
                let (name, ..) = NAMES.get(index)?;
                (hard > most).then(|| format!("{name} is at most {most}"))
            })
            .collect()
    }
}

/// The highest limits that processes can be given, in the order of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ceilings([u64; NAMES.len()]);

impl Ceilings {
    /// The highest limit of one kind.
    pub fn of(&self, kind: PosixRlimitType) -> u64 {
        let all = NAMES.iter().zip(&self.0);
        all.filter(|((_, known, _), _)| *known == kind).map(|(_, most)| *most).next().unwrap_or(NO_LIMIT)
    }

    /// Those of processes that this one starts; `raises`: it may raise its own hard limits.
    pub fn detect(raises: bool) -> Self {
        let own = |resource| getrlimit(resource).maximum.unwrap_or(NO_LIMIT);
        let files = std::fs::read_to_string("/proc/sys/fs/nr_open").ok();
        let files = files.and_then(|text| text.trim().parse().ok()).unwrap_or(NO_LIMIT);
        Self(NAMES.map(|(_, kind, resource)| {
            let own = if raises { NO_LIMIT } else { own(resource) };
            if kind == PosixRlimitType::RlimitNofile { own.min(files) } else { own }
        }))
    }
}

/// `SOFT:HARD` or both in one.
fn pair(value: &str) -> Option<(u64, u64)> {
    let number = |text: &str| match text.trim() {
        "unlimited" => Some(NO_LIMIT),
        text => text.parse().ok(),
    };
    let (soft, hard) = value.split_once(':').unwrap_or((value, value));
    Some((number(soft)?, number(hard)?)).filter(|(soft, hard)| soft <= hard)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn parse(values: &[(&str, &str)]) -> OciResult<Rlimits> {
        let values = values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Rlimits::parse("runtime.rlimits", &values.collect())
    }

    fn shown(limits: &Rlimits, ceilings: &Ceilings) -> Vec<(PosixRlimitType, u64, u64)> {
        limits.spec(ceilings).unwrap().iter().map(|limit| (limit.typ(), limit.soft(), limit.hard())).collect()
    }

    #[test]
    fn values_are_soft_and_hard() {
        let none = Ceilings([NO_LIMIT; NAMES.len()]);
        let limits =
            parse(&[("nofile", "1024:524288"), ("core", "0"), ("memlock", "64:unlimited"), ("stack", "")]);
        let expected = [
            (PosixRlimitType::RlimitCore, 0, 0),
            (PosixRlimitType::RlimitMemlock, 64, NO_LIMIT),
            (PosixRlimitType::RlimitNofile, 1024, 524_288),
        ];
        assert_eq!(shown(&limits.unwrap(), &none), expected);
        for (name, value) in
            [("files", "1"), ("nofile", "2:1"), ("nofile", "-1"), ("nofile", "1:2:3"), ("nofile", "many")]
        {
            let error = parse(&[(name, value)]).unwrap_err().to_string();
            assert!(error.starts_with("runtime.rlimits: ") && error.contains(name), "{error}");
        }
    }

    #[test]
    fn a_handler_s_go_before_the_usual() {
        let none = Ceilings([NO_LIMIT; NAMES.len()]);
        let usual = parse(&[("nofile", "1024:524288"), ("core", "0")]).unwrap();
        let both = usual.with(&parse(&[("nofile", ""), ("core", "7")]).unwrap());
        assert_eq!(shown(&both, &none), [(PosixRlimitType::RlimitCore, 7, 7)]);
    }

    #[test]
    fn what_the_host_forbids_is_less_and_told() {
        let tight = Ceilings([100; NAMES.len()]);
        let limits = parse(&[("nofile", "1024:524288"), ("core", "0:50")]).unwrap();
        let expected = [(PosixRlimitType::RlimitCore, 0, 50), (PosixRlimitType::RlimitNofile, 100, 100)];
        assert_eq!(shown(&limits, &tight), expected);
        assert_eq!(limits.above(&tight), ["nofile is at most 100"]);
        let own = getrlimit(Resource::Nofile).maximum.unwrap_or(NO_LIMIT);
        let files = NAMES.iter().position(|(name, ..)| *name == "nofile").unwrap();
        assert!(Ceilings::detect(false).0[files] <= own);
    }
}
