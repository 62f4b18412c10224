//! Sockets: the system calls that are refused. Landlock has no word for the unix sockets of others below ABI 9, and
//! none for sockets that reach a TCP port by another name.
//!
//! Invariant: nobody can take a filter off again, and whatever the child starts has it too.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

use super::{Network, Profile};

/// What this program was built for.
pub const ARCH: Result<TargetArch, &str> = if cfg!(target_arch = "x86_64") {
    Ok(TargetArch::x86_64)
} else if cfg!(target_arch = "aarch64") {
    Ok(TargetArch::aarch64)
} else {
    Err("there is no filter for this processor")
};

/// The second set of numbers that an x86-64 kernel may answer to.
const X32: i64 = 0x4000_0000;

const UNIX: u64 = libc::AF_UNIX as u64;
const INET: u64 = libc::AF_INET as u64;
const INET6: u64 = libc::AF_INET6 as u64;
/// How a program asks which addresses and routes there are.
const NETLINK: u64 = libc::AF_NETLINK as u64;
const TCP: u64 = libc::IPPROTO_TCP as u64;
const UDP: u64 = libc::IPPROTO_UDP as u64;

/// Filters this thread and whatever comes from it.
///
/// # Errors
/// What cannot be done, in words.
pub fn restrict(profile: &Profile) -> Result<(), String> {
    let failed = |error: seccompiler::Error| format!("seccomp: {error}");
    // A filter has one answer to all that it refuses, so these are two.
    if let Some(families) = families(profile)? {
        seccompiler::apply_filter(&families).map_err(failed)?;
    }
    seccompiler::apply_filter(&forbidden(profile)?).map_err(failed)
}

/// Kinds of networks that the child does not have. It is told so as by a kernel without them: programs then take
/// another, as .NET does without IPv6, and fail where they are told that they may not.
fn families(profile: &Profile) -> Result<Option<BpfProgram>, String> {
    let failed = |error: seccompiler::BackendError| format!("seccomp: {error}");
    let Some((versions, _)) = versions(&profile.network) else { return Ok(None) };
    let known = [NETLINK, UNIX].iter().chain(versions);
    let other = known.map(|known| SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, *known));
    let other = other.collect::<Result<Vec<_>, _>>().and_then(SeccompRule::new).map_err(failed)?;
    compile(BTreeMap::from([(libc::SYS_socket, vec![other])]), libc::EAFNOSUPPORT).map(Some)
}

fn forbidden(profile: &Profile) -> Result<BpfProgram, String> {
    let failed = |error: seccompiler::BackendError| format!("seccomp: {error}");
    let mut rules = BTreeMap::new();
    // These make sockets and connections by another door, or read keys that the kernel keeps for the account.
    for call in [libc::SYS_io_uring_setup, libc::SYS_keyctl, libc::SYS_add_key, libc::SYS_request_key] {
        rules.insert(call, Vec::new());
    }
    rules.insert(libc::SYS_socket, sockets(profile).map_err(failed)?);
    if !profile.unix_sockets {
        rules.insert(
            libc::SYS_socketpair,
            vec![pair(libc::SOCK_DGRAM), pair(libc::SOCK_RAW)].into_iter().collect::<Result<_, _>>().map_err(failed)?,
        );
    }
    if profile.network != Network::Any {
        // Data in the first packet: a connection that no port rule sees.
        for (call, flags) in [(libc::SYS_sendto, 3), (libc::SYS_sendmsg, 2), (libc::SYS_sendmmsg, 3)] {
            let fast = libc::MSG_FASTOPEN as u64;
            let bit = SeccompCondition::new(flags, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(fast), fast);
            rules.insert(call, vec![bit.and_then(|bit| SeccompRule::new(vec![bit])).map_err(failed)?]);
        }
        // A socket that listens without a name gets a port that no rule sees.
        if !profile.unix_sockets {
            rules.insert(libc::SYS_listen, Vec::new());
        }
    }
    // A list without a rule in it means any.
    rules.retain(|call, rules| *call != libc::SYS_socket || !rules.is_empty());
    compile(rules, libc::EACCES)
}

fn compile(mut rules: BTreeMap<i64, Vec<SeccompRule>>, errno: libc::c_int) -> Result<BpfProgram, String> {
    let failed = |error: seccompiler::BackendError| format!("seccomp: {error}");
    if cfg!(target_arch = "x86_64") {
        let again: Vec<_> = rules.iter().map(|(call, rules)| (call | X32, rules.clone())).collect();
        rules.extend(again);
    }
    let refused = SeccompAction::Errno(errno as u32);
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refused, ARCH?).map_err(failed)?;
    filter.try_into().map_err(failed)
}

/// One end of a pair of datagrams can send to any path; a pair of streams has its other end for good.
fn pair(kind: libc::c_int) -> Result<SeccompRule, seccompiler::BackendError> {
    // The bits above are flags.
    let kind = SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(0xf), kind as u64)?;
    SeccompRule::new(vec![kind])
}

/// Which kinds of networks there are and which protocols of theirs; `None` where all are.
fn versions(network: &Network) -> Option<(&'static [u64], &'static [u64])> {
    match network {
        Network::Any => None,
        Network::Ports(ports) if ports.is_empty() => Some((&[], &[])),
        Network::Ports(_) => Some((&[INET, INET6], &[0, TCP, UDP])),
        Network::Only(_) => Some((&[INET], &[0, TCP])),
    }
}

/// Each rule names sockets that are refused.
fn sockets(profile: &Profile) -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    let family = |op, value| SeccompCondition::new(0, SeccompCmpArgLen::Dword, op, value);
    let protocol = |value| SeccompCondition::new(2, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, value);
    let mut rules = Vec::new();
    if !profile.unix_sockets {
        rules.push(SeccompRule::new(vec![family(SeccompCmpOp::Eq, UNIX)?])?);
    }
    let Some((versions, protocols)) = versions(&profile.network) else { return Ok(rules) };
    for version in versions {
        let mut named = vec![family(SeccompCmpOp::Eq, *version)?];
        for known in protocols {
            named.push(protocol(*known)?);
        }
        rules.push(SeccompRule::new(named)?);
    }
    if let Network::Only(_) = &profile.network {
        // There is no word for "another kind": each of those that fit below the flags is named.
        for kind in (0..16).filter(|kind| *kind != libc::SOCK_STREAM as u64) {
            let kind = SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(0xf), kind)?;
            rules.push(SeccompRule::new(vec![family(SeccompCmpOp::Eq, INET)?, kind])?);
        }
    }
    Ok(rules)
}
