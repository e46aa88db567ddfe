//! Which runtime the kubelet asks.

use super::NodeError;
use super::hand::Hand;
use super::host::{Access, Host};
use super::record::{Placed, Record};
use std::path::{Path, PathBuf};

const ENDPOINT: &str = "unix:///run/corten/corten.sock";
const FLAG: &str = "--container-runtime-endpoint";
const UNIT: &str = "kubelet.service";
/// Where kubeadm writes the kubelet's flags.
const KUBEADM: &str = "/var/lib/kubelet/kubeadm-flags.env";
/// The last word of the kubelet's directory of drop-ins, which it reads in the order of names.
const DROP_IN: &str = "90-corten.conf";

/// Has the kubelet ask Corten; whether that is new.
///
/// # Errors
/// It cannot be told how, or does not start again; it then asks whom it asked.
pub(super) fn switch(host: &Host, hand: &dyn Hand, record: &mut Record) -> Result<bool, NodeError> {
    if let Some(placed) = &record.kubelet
        && host.read(&placed.path)?.is_some_and(|text| names_ours(&text))
    {
        return Ok(false);
    }
    let (path, text) = file(host)?;
    let before = record.kubelet.clone();
    let placed = match &before {
        Some(placed) if placed.path == path => placed.clone(),
        _ => record.keep(host, &path)?,
    };
    let access = placed.before.as_ref().map_or(Access::of_root(0o644), |(_, access)| *access);
    record.kubelet = Some(placed);
    record.save(host)?;
    let switched = host.write(&path, text.as_bytes(), access).and_then(|()| restart(hand));
    if let Err(error) = switched {
        back(host, hand, record)?;
        return Err(error);
    }
    Ok(true)
}

/// Has the kubelet ask whom it asked before; whether that is new.
///
/// # Errors
/// The system's, or the kubelet does not start again.
pub(super) fn back(host: &Host, hand: &dyn Hand, record: &mut Record) -> Result<bool, NodeError> {
    let Some(placed) = record.kubelet.clone() else { return Ok(false) };
    undo(host, &placed)?;
    record.kubelet = None;
    record.save(host)?;
    restart(hand)?;
    Ok(true)
}

/// Byte by byte where nobody has changed the file since, else only the endpoint.
fn undo(host: &Host, placed: &Placed) -> Result<(), NodeError> {
    let now = host.read(&placed.path)?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    if let (Some((kept, access)), Some(now)) = (placed.kept(host)?, now) {
        let kept = String::from_utf8_lossy(&kept).into_owned();
        let before = flag(&kept).map(|(_, endpoint)| endpoint.to_owned());
        if let (Some(before), true) = (before, rewritten(&kept, ENDPOINT).as_ref() != Some(&now)) {
            let text = rewritten(&now, &before).unwrap_or(now);
            return host.write(&placed.path, text.as_bytes(), access);
        }
    }
    placed.restore(host)
}

fn restart(hand: &dyn Hand) -> Result<(), NodeError> {
    hand.must("systemctl", &["restart", UNIT])
}

fn names_ours(text: &[u8]) -> bool {
    String::from_utf8_lossy(text).contains(ENDPOINT)
}

/// The file that decides, and what it is to say.
fn file(host: &Host) -> Result<(PathBuf, String), NodeError> {
    let refuse = |why: &str| Err(NodeError::Kubelet(why.to_owned()));
    let lines = host.processes("kubelet");
    let Some(line) = lines.first() else { return refuse("no kubelet runs on this host") };
    if option(line, FLAG).is_some() {
        let text = host.read(Path::new(KUBEADM))?.unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        return match rewritten(&text, ENDPOINT) {
            Some(text) => Ok((PathBuf::from(KUBEADM), text)),
            None => refuse(&format!(
                "it is started with {FLAG}, which goes before every file, and {KUBEADM} does not say so: take the flag away where it is set"
            )),
        };
    }
    let Some(directory) = option(line, "--config-dir") else {
        return refuse(&format!(
            "it reads no directory of drop-ins: start it with --config-dir, or write containerRuntimeEndpoint: {ENDPOINT} into its configuration"
        ));
    };
    if !host.exists(Path::new(directory)) {
        return refuse(&format!("its directory of drop-ins, {directory}, is not there"));
    }
    let text = format!(
        "# Of the corten chart: which runtime the kubelet asks.\napiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\ncontainerRuntimeEndpoint: {ENDPOINT}\n"
    );
    Ok((Path::new(directory).join(DROP_IN), text))
}

/// The value of an option, in either of its forms.
fn option<'a>(line: &'a [String], name: &str) -> Option<&'a str> {
    line.iter().enumerate().find_map(|(index, word)| match word.strip_prefix(name)? {
        "" => line.get(index + 1).map(String::as_str),
        rest => rest.strip_prefix('='),
    })
}

/// Where the flag's value begins in a text, and the value.
fn flag(text: &str) -> Option<(usize, &str)> {
    let at = text.find(FLAG)? + FLAG.len();
    let begin = at + text[at..].find(|sign| sign != '=' && sign != ' ')?;
    let end = text[begin..].find([' ', '"', '\'', '\n']).map_or(text.len(), |end| begin + end);
    Some((begin, &text[begin..end]))
}

/// A text with another endpoint; `None` where it names none.
fn rewritten(text: &str, endpoint: &str) -> Option<String> {
    let (begin, old) = flag(text)?;
    Some(format!("{}{endpoint}{}", &text[..begin], &text[begin + old.len()..]))
}
