//! The configuration of host-local, wherever its parts come from.

use super::range::{RangeConf, RangeSet};
use crate::failure::{config, read};
use crate::types::{CniError, Invocation, Route};
use serde::Deserialize;
use serde_json::Value;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

const DATA_DIR: &str = "/var/lib/cni/networks";

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct HostLocal {
    name: String,
    ipam: Option<Ipam>,
    runtime_config: Option<Runtime>,
    args: Option<Args>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Ipam {
    #[serde(flatten)]
    range: RangeConf,
    ranges: Option<Vec<Vec<RangeConf>>>,
    routes: Option<Vec<Route>>,
    data_dir: Option<PathBuf>,
    resolv_conf: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Runtime {
    ip_ranges: Option<Vec<Vec<RangeConf>>>,
    ips: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Args {
    cni: Option<CniArgs>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CniArgs {
    ips: Option<Vec<String>>,
}

impl HostLocal {
    pub(super) fn read(call: &Invocation) -> Result<Self, CniError> {
        let conf: Self = read(call)?;
        if conf.name.is_empty() || conf.name.contains('/') {
            return Err(config(format!("host-local: invalid network name {:?}", conf.name)));
        }
        if conf.ipam.is_none() {
            return Err(config("host-local: no ipam in the configuration"));
        }
        Ok(conf)
    }

    fn ipam(&self) -> Option<&Ipam> {
        self.ipam.as_ref()
    }

    /// Where the network's addresses are recorded.
    pub(super) fn directory(&self) -> PathBuf {
        let configured = self.ipam().and_then(|ipam| ipam.data_dir.as_deref());
        directory(configured, &self.name)
    }

    /// Where addresses are recorded that an ADD of this configuration may have reserved, which may be wrong otherwise;
    /// `None` where it cannot have reserved any.
    pub(super) fn directory_of(call: &Invocation) -> Option<PathBuf> {
        let name = call.conf.network();
        let configured = call.conf.get("ipam").and_then(|ipam| ipam.get("dataDir")).and_then(Value::as_str);
        (!name.is_empty() && !name.contains('/')).then(|| directory(configured.map(Path::new), name))
    }

    /// Verifies it without a look at the host. Ranges that the runtime adds to each call are not known yet.
    pub(super) fn validate(&self, call: &Invocation) -> Result<(), CniError> {
        if self.range_confs().is_empty() && call.conf.has_capability("ipRanges") {
            return Ok(());
        }
        self.sets().map(drop)
    }

    pub(super) fn resolv_conf(&self) -> Option<&Path> {
        let configured = self.ipam().and_then(|ipam| ipam.resolv_conf.as_deref());
        configured.filter(|path| !path.as_os_str().is_empty())
    }

    pub(super) fn routes(&self) -> Vec<Route> {
        self.ipam().and_then(|ipam| ipam.routes.clone()).unwrap_or_default()
    }

    /// The sets of ranges, in the order of the standard plugin, which numbers its files by it: those of the
    /// runtime, then the old single range, then the configured ones.
    fn range_confs(&self) -> Vec<Vec<RangeConf>> {
        let mut confs = Vec::new();
        confs.extend(
            self.runtime_config.iter().flat_map(|runtime| runtime.ip_ranges.iter().flatten().cloned()),
        );
        if let Some(ipam) = self.ipam() {
            if ipam.range.subnet.is_some() {
                confs.push(vec![ipam.range.clone()]);
            }
            confs.extend(ipam.ranges.iter().flatten().cloned());
        }
        confs
    }

    /// The sets of ranges, complete.
    pub(super) fn sets(&self) -> Result<Vec<RangeSet>, CniError> {
        let confs = self.range_confs();
        if confs.is_empty() {
            return Err(config("host-local: no address ranges"));
        }
        let sets = confs.iter().map(|set| RangeSet::complete(set)).collect::<Result<Vec<_>, _>>()?;
        for (at, set) in sets.iter().enumerate() {
            if let Some(other) = sets[..at].iter().position(|other| other.overlaps(set)) {
                return Err(config(format!("host-local: sets of ranges {other} and {at} overlap")));
            }
        }
        Ok(sets)
    }

    /// The addresses that the caller wants: of `CNI_ARGS`, `args` and the capability `ips`.
    pub(super) fn requested(&self, call: &Invocation) -> Result<Vec<IpAddr>, CniError> {
        let args = self.args.iter().filter_map(|args| args.cni.as_ref()).filter_map(|cni| cni.ips.as_ref());
        let runtime = self.runtime_config.iter().filter_map(|runtime| runtime.ips.as_ref());
        let texts = call.arg("IP").into_iter().chain(args.chain(runtime).flatten().map(String::as_str));
        let mut ips = Vec::new();
        for text in texts.filter(|text| !text.is_empty()) {
            let address = text.split_once('/').map_or(text, |(address, _)| address);
            let ip: IpAddr = address
                .parse()
                .map_err(|_| config(format!("host-local: requested address {text:?} is not an address")))?;
            if !ips.contains(&ip) {
                ips.push(ip);
            }
        }
        Ok(ips)
    }
}

fn directory(configured: Option<&Path>, network: &str) -> PathBuf {
    configured.filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new(DATA_DIR)).join(network)
}
