//! Redirects ports inside the pod's network namespace: `blueback-agent redirect 8080=15080 15082=8080`.
//!
//! For applications whose port is a number that the Service targets: nobody can take over a number by a name. It runs once,
//! as an init container with NET_ADMIN; the agent itself runs without any capability.
//!
//! Two rules of nftables are all it takes, so they are spoken to the kernel directly over netlink. Calling `nft` would need
//! another image with a shell and libraries, started with the rights to change the network. The rules hold for what comes from
//! outside; what the agent sends to the application over loopback never meets them.

use std::io::{self, Read as _};
use std::time::Duration;

use anyhow::{Context as _, bail};
use socket2::{Domain, Protocol, Socket, Type};

/// A port, and where what comes to it goes instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// The port that clients know.
    pub from: u16,
    /// The port that gets them.
    pub to: u16,
}

impl std::str::FromStr for Redirect {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let port = |text: &str| text.parse().ok().filter(|port| *port > 0);
        let ports = text.split_once('=').and_then(|(from, to)| Some((port(from)?, port(to)?)));
        let (from, to) = ports.ok_or_else(|| format!("{text:?} is not FROM=TO with two ports, such as 8080=15080"))?;
        Ok(Self { from, to })
    }
}

/// Table of our rules.
const TABLE: &str = "blueback";
const CHAIN: &str = "inbound";
/// Longest wait for the kernel, which answers at once.
const ANSWER_MAX: Duration = Duration::from_secs(2);

// Numbers of linux/netlink.h, linux/netfilter/nfnetlink.h and linux/netfilter/nf_tables.h.
const AF_NETLINK: i32 = 16;
const NETLINK_NETFILTER: i32 = 12;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_CREATE: u16 = 0x400;
const NLM_F_APPEND: u16 = 0x800;
const NLMSG_ERROR: u16 = 2;
const NLA_F_NESTED: u16 = 0x8000;
const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFNL_MSG_BATCH_BEGIN: u16 = 0x10;
const NFNL_MSG_BATCH_END: u16 = 0x11;
const NFPROTO_UNSPEC: u8 = 0;
/// IPv4 and IPv6 in one table.
const NFPROTO_INET: u8 = 1;
const NEW_TABLE: u16 = NFNL_SUBSYS_NFTABLES << 8;
const DELETE_TABLE: u16 = NEW_TABLE | 2;
const NEW_CHAIN: u16 = NEW_TABLE | 3;
const NEW_RULE: u16 = NEW_TABLE | 6;
const HOOK_PRE_ROUTING: u32 = 0;
/// Where destinations are translated.
const PRIORITY_NAT: i32 = -100;
const REGISTER: u32 = 1;
const META_INTERFACE_NAME: u32 = 6;
const META_PROTOCOL: u32 = 16;
const EQUAL: u32 = 0;
const NOT_EQUAL: u32 = 1;
const PAYLOAD_TRANSPORT: u32 = 2;
const TCP: u8 = 6;
/// Length of an interface's name in the kernel.
const INTERFACE_NAME_BYTES: usize = 16;

/// An attribute: length, type, value, padded to four bytes.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len() + 4).expect("our attributes are short");
    let mut bytes = Vec::with_capacity(value.len() + 7);
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn nested(kind: u16, parts: &[Vec<u8>]) -> Vec<u8> {
    attribute(kind | NLA_F_NESTED, &parts.concat())
}

fn text(kind: u16, text: &str) -> Vec<u8> {
    attribute(kind, &[text.as_bytes(), b"\0"].concat())
}

fn number(kind: u16, number: u32) -> Vec<u8> {
    attribute(kind, &number.to_be_bytes())
}

/// One expression of a rule: its name and its attributes, as an element of a list.
fn expression(name: &str, parts: &[Vec<u8>]) -> Vec<u8> {
    nested(1, &[text(1, name), nested(2, parts)])
}

fn meta(key: u32) -> Vec<u8> {
    expression("meta", &[number(1, REGISTER), number(2, key)])
}

fn compare(how: u32, value: &[u8]) -> Vec<u8> {
    expression("cmp", &[number(1, REGISTER), number(2, how), nested(3, &[attribute(1, value)])])
}

/// As `iifname != "lo" tcp dport FROM redirect to :TO` would be compiled.
fn rule(redirect: Redirect) -> Vec<u8> {
    let mut loopback = b"lo".to_vec();
    loopback.resize(INTERFACE_NAME_BYTES, 0);
    // The destination's port stands two bytes into the header.
    let port = [number(1, REGISTER), number(2, PAYLOAD_TRANSPORT), number(3, 2), number(4, 2)];
    let to = nested(2, &[attribute(1, &redirect.to.to_be_bytes())]);
    let expressions = [
        meta(META_INTERFACE_NAME),
        compare(NOT_EQUAL, &loopback),
        meta(META_PROTOCOL),
        compare(EQUAL, &[TCP]),
        expression("payload", &port),
        compare(EQUAL, &redirect.from.to_be_bytes()),
        expression("immediate", &[number(1, REGISTER), to]),
        expression("redir", &[number(1, REGISTER)]),
    ];
    [text(1, TABLE), text(2, CHAIN), nested(4, &expressions)].concat()
}

/// A message: netlink's header, netfilter's header, attributes.
fn message(kind: u16, flags: u16, sequence: u32, family: u8, resource: u16, attributes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(20 + attributes.len()).expect("our messages are short");
    let mut bytes = Vec::with_capacity(20 + attributes.len());
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend((NLM_F_REQUEST | flags).to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    // From the port that the kernel gives us.
    bytes.extend([0; 4]);
    bytes.extend([family, 0]);
    bytes.extend(resource.to_be_bytes());
    bytes.extend(attributes);
    bytes
}

/// All that is to be done, as one transaction, and how many answers it gets. A table of an earlier start is replaced.
fn transaction(redirects: &[Redirect]) -> (Vec<u8>, usize) {
    let table = text(1, TABLE);
    let hook = nested(4, &[number(1, HOOK_PRE_ROUTING), attribute(2, &PRIORITY_NAT.to_be_bytes())]);
    let chain = [text(1, TABLE), text(3, CHAIN), hook, text(7, "nat")].concat();
    let create = NLM_F_ACK | NLM_F_CREATE;
    // A table must be there to be deleted.
    let mut steps = vec![
        (NEW_TABLE, create, table.clone()),
        (DELETE_TABLE, NLM_F_ACK, table.clone()),
        (NEW_TABLE, create, table),
        (NEW_CHAIN, create, chain),
    ];
    steps.extend(redirects.iter().map(|redirect| (NEW_RULE, create | NLM_F_APPEND, rule(*redirect))));
    let mut bytes = message(NFNL_MSG_BATCH_BEGIN, 0, 0, NFPROTO_UNSPEC, NFNL_SUBSYS_NFTABLES, &[]);
    let mut sequence = 0;
    for (kind, flags, attributes) in &steps {
        sequence += 1;
        bytes.extend(message(*kind, *flags, sequence, NFPROTO_INET, 0, attributes));
    }
    bytes.extend(message(NFNL_MSG_BATCH_END, 0, sequence + 1, NFPROTO_UNSPEC, NFNL_SUBSYS_NFTABLES, &[]));
    (bytes, steps.len())
}

/// What the kernel says in one datagram: an error number for each answer, 0 when all is well.
fn answers(mut datagram: &[u8]) -> Vec<i32> {
    let mut found = Vec::new();
    while let Some((length, rest)) = datagram.split_first_chunk::<4>() {
        let length = u32::from_ne_bytes(*length) as usize;
        let kind = rest.first_chunk::<2>().map(|kind| u16::from_ne_bytes(*kind));
        let code = datagram.get(16..20).and_then(|code| code.first_chunk::<4>()).map(|code| i32::from_ne_bytes(*code));
        if let (Some(NLMSG_ERROR), Some(code)) = (kind, code) {
            found.push(-code);
        }
        datagram = datagram.get(length.max(16).next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

/// Puts the redirects in force.
///
/// # Errors
///
/// When the kernel refuses, with its reason. Then none is in force.
pub fn apply(redirects: &[Redirect]) -> anyhow::Result<()> {
    if redirects.is_empty() {
        bail!("no redirect is given; accepted: FROM=TO with two ports, such as 8080=15080");
    }
    let (request, mut waiting) = transaction(redirects);
    let mut socket = Socket::new(Domain::from(AF_NETLINK), Type::RAW, Some(Protocol::from(NETLINK_NETFILTER)))
        .context("a socket to the kernel's packet filter")?;
    socket.set_read_timeout(Some(ANSWER_MAX))?;
    socket.send(&request).context("asking the kernel's packet filter")?;
    let mut datagram = vec![0; 16 << 10];
    while waiting > 0 {
        let length = socket.read(&mut datagram).context("waiting for the kernel's packet filter")?;
        for code in answers(&datagram[..length]) {
            if code != 0 {
                let error = io::Error::from_raw_os_error(code);
                return Err(error)
                    .context("the kernel does not redirect; the container needs the capability NET_ADMIN");
            }
            waiting = waiting.saturating_sub(1);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_is_two_ports() {
        assert_eq!("8080=15080".parse(), Ok(Redirect { from: 8080, to: 15080 }));
        for wrong in ["", "8080", "8080=", "=1", "0=1", "1=0", "1=65536", "a=b", "1=2=3", "8080:15080"] {
            let told = wrong.parse::<Redirect>().expect_err("it is no redirect");
            assert!(told.contains("8080=15080"), "{told}");
        }
    }

    #[test]
    fn a_transaction_is_a_sequence_of_whole_messages() {
        let redirects = [Redirect { from: 8080, to: 15080 }, Redirect { from: 15082, to: 8080 }];
        let (bytes, answers) = transaction(&redirects);
        assert_eq!(answers, 6);
        let (mut rest, mut kinds) = (bytes.as_slice(), Vec::new());
        while let Some(length) = rest.first_chunk::<4>() {
            let length = u32::from_ne_bytes(*length) as usize;
            assert_eq!(length % 4, 0, "messages are aligned");
            kinds.push(u16::from_ne_bytes([rest[4], rest[5]]));
            rest = rest.get(length..).expect("the message is whole");
        }
        assert!(rest.is_empty());
        let table = [NEW_TABLE, DELETE_TABLE, NEW_TABLE, NEW_CHAIN, NEW_RULE, NEW_RULE];
        assert_eq!(kinds, [&[NFNL_MSG_BATCH_BEGIN], table.as_slice(), &[NFNL_MSG_BATCH_END]].concat());
    }

    #[test]
    fn the_kernel_is_understood() {
        let answer = |code: i32| {
            let mut bytes = Vec::new();
            bytes.extend(36_u32.to_ne_bytes());
            bytes.extend(NLMSG_ERROR.to_ne_bytes());
            bytes.extend([0; 10]);
            bytes.extend(code.to_ne_bytes());
            bytes.resize(36, 0);
            bytes
        };
        assert_eq!(answers(&[answer(0), answer(-1)].concat()), [0, 1]);
        for length in 0..36 {
            drop(answers(&answer(0)[..length]));
        }
        assert_eq!(answers(&[0; 64]), [] as [i32; 0], "what makes no sense is no answer");
    }
}
