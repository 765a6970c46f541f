//! New bricks for a volume: whose they are, where they lie, whether they are fit.
//!
//! Shared by every command that brings bricks: two rounds of questions, each a pure step.
//! Facts: glusterd-volume-ops.c:864-1100, glusterd-utils.c:1405-1625, :8113, :14667 (v10.3).

use crate::model::{BrickRef, BrickSpec, NodeId, PeerState, Refusal};
use crate::ops::{Answer, Ask, CheckedBrick, Cx, HostFacts, Question};
use crate::store::View;
use std::collections::BTreeMap;

/// Longest name the file system takes (`_POSIX_PATH_MAX`, used by stock as the bound).
const NAME_BYTES_MAX: usize = 256;
const PATH_BYTES_MAX: usize = 4096;

/// What to do next with the wanted bricks.
#[derive(Debug)]
pub enum BrickPlan {
    Ask(Vec<Ask>),
    Ready(Vec<PlacedBrick>),
}

/// A wanted brick that passed every check.
#[derive(Clone, Debug)]
pub struct PlacedBrick {
    pub node: NodeId,
    pub spec: BrickSpec,
    pub checked: CheckedBrick,
}

/// What only force made good, of the last brick that needed it: stays in a reply that says success.
pub fn overridden(placed: &[PlacedBrick]) -> Option<String> {
    placed.iter().rev().find_map(|brick| brick.checked.warning.clone())
}

/// How the caller wants its bricks checked.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    pub volume: &'a str,
    pub bricks: &'a [BrickSpec],
    pub force: bool,
    /// Kind and size of a subvolume whose bricks should be on different nodes.
    pub spread: Option<(&'static str, usize)>,
    /// Hosts that carry copies already: none of the wanted bricks should be there either.
    pub beside: &'a [String],
    /// A brick that makes room for the wanted one; overlapping it is fine.
    pub instead_of: Option<&'a BrickRef>,
    /// The root file system will do.
    pub any_device: bool,
}

impl<'a> Wanted<'a> {
    pub fn new(volume: &'a str, bricks: &'a [BrickSpec], force: bool) -> Wanted<'a> {
        let (spread, beside, instead_of, any_device) = (None, &[][..], None, false);
        Wanted { volume, bricks, force, spread, beside, instead_of, any_device }
    }
}

/// Places the wanted bricks, or says what to ask first.
pub fn place_bricks(cx: &Cx<'_>, wanted: Wanted<'_>) -> Result<BrickPlan, Refusal> {
    if let Some(asks) = check_hosts(cx, &wanted)? {
        return Ok(BrickPlan::Ask(asks));
    }
    let facts = host_facts(cx, &hosts_of(&wanted)).expect("asked for above");
    let mut nodes = Vec::new();
    for brick in wanted.bricks {
        check_lengths(wanted.volume, brick)?;
        nodes.push(node_of(cx.view, &facts, brick)?);
    }
    let Some(found) = findings(cx, &nodes) else {
        return Ok(BrickPlan::Ask(check_paths(&wanted, &nodes, |_| true, false)));
    };
    check_overlap(cx.view, &wanted, &nodes, &places(wanted.bricks, &nodes, &found))?;
    let Some(checked) = checked_bricks(cx, wanted.bricks, &nodes, &found)? else {
        // In the way of something that has gone meanwhile.
        let again = |node| matches!(found[&node], Answer::Places(_));
        return Ok(BrickPlan::Ask(check_paths(&wanted, &nodes, again, true)));
    };
    let placed = wanted.bricks.iter().zip(&nodes).zip(checked);
    Ok(BrickPlan::Ready(
        placed
            .map(|((spec, node), checked)| PlacedBrick { node: *node, spec: spec.clone(), checked })
            .collect(),
    ))
}

fn hosts_of(wanted: &Wanted<'_>) -> Vec<String> {
    let named = wanted.bricks.iter().map(|b| b.host.clone());
    unique(named.chain(wanted.beside.iter().cloned()))
}

/// What to ask to learn of the bricks' hosts; once that is known, whether bricks of one subvolume
/// share a host.
pub fn check_hosts(cx: &Cx<'_>, wanted: &Wanted<'_>) -> Result<Option<Vec<Ask>>, Refusal> {
    let hosts = hosts_of(wanted);
    let Some(facts) = host_facts(cx, &hosts) else {
        let question = Question::Locate { hosts };
        return Ok(Some(vec![Ask::new(cx.view.me, question)]));
    };
    if let (Some((kind, size)), false) = (wanted.spread, wanted.force) {
        check_spread(&facts, wanted, kind, size)?;
    }
    Ok(None)
}

fn unique(items: impl Iterator<Item = String>) -> Vec<String> {
    let mut seen = Vec::new();
    for item in items {
        if !seen.contains(&item) {
            seen.push(item);
        }
    }
    seen
}

/// Facts of every host, from this node's answer; `None` before it was asked.
fn host_facts(cx: &Cx<'_>, hosts: &[String]) -> Option<BTreeMap<String, HostFacts>> {
    let known: BTreeMap<String, HostFacts> = cx
        .answers
        .iter()
        .filter_map(|a| match &a.answer {
            Answer::Located(hosts) => Some(hosts.iter()),
            _ => None,
        })
        .flatten()
        .map(|facts| (facts.name.clone(), facts.clone()))
        .collect();
    hosts.iter().all(|host| known.contains_key(host)).then_some(known)
}

/// Bricks of one subvolume on one node lose together. Compared as stock does: inside each group of
/// `size`, two hosts that share their first address.
fn check_spread(
    facts: &BTreeMap<String, HostFacts>,
    wanted: &Wanted<'_>,
    kind: &str,
    size: usize,
) -> Result<(), Refusal> {
    let same = |one: &String, other: &String| same_host(&facts[one], &facts[other]);
    let crowded = wanted.bricks.chunks(size.max(1)).any(|group| {
        let hosts: Vec<&String> = group.iter().map(|brick| &brick.host).collect();
        let pair = |i: usize| hosts[i + 1..].iter().any(|other| same(hosts[i], other));
        (0..hosts.len()).any(pair)
    });
    let beside =
        wanted.bricks.iter().any(|brick| wanted.beside.iter().any(|host| same(&brick.host, host)));
    if crowded || beside {
        return Err(Refusal::staged(format!(
            "Multiple bricks of a {kind} volume are present on the same server. This setup is not \
             optimal. Bricks should be on different nodes to have best fault tolerant \
             configuration. Use 'force' at the end of the command if you want to override this \
             behavior. "
        )));
    }
    Ok(())
}

fn same_host(one: &HostFacts, other: &HostFacts) -> bool {
    one.addresses.iter().any(|address| other.addresses.contains(address))
}

fn check_lengths(volume: &str, brick: &BrickSpec) -> Result<(), Refusal> {
    let component = brick.path.split('/').map(str::len).max().unwrap_or(0);
    if brick.path.len() >= PATH_BYTES_MAX || component >= NAME_BYTES_MAX {
        return Err(Refusal::staged(format!("brick path {brick} is too long.")));
    }
    // The slash before the name counts in stock's comparison.
    let stem = crate::model::strip_dash_path(&brick.path);
    let file = format!("/{volume}.{}.{stem}.vol", brick.host);
    if volume.len() >= NAME_BYTES_MAX || file.len() >= NAME_BYTES_MAX {
        return Err(Refusal::staged(format!(
            "Volume file path for volume {volume} and brick path {brick} is too long."
        )));
    }
    Ok(())
}

fn node_of(
    view: &View,
    facts: &BTreeMap<String, HostFacts>,
    brick: &BrickSpec,
) -> Result<NodeId, Refusal> {
    let host = &facts[&brick.host];
    if host.is_me {
        return Ok(view.me);
    }
    let named = |peer: &&crate::model::Peer| {
        peer.hostnames.iter().any(|name| *name == brick.host || host.addresses.contains(name))
    };
    let stranger =
        || Refusal::staged(format!("Host {} is not in 'Peer in Cluster' state", brick.host));
    let peer = view.others().find(named).ok_or_else(stranger)?;
    if !view.alive.contains(&peer.id) {
        return Err(Refusal::staged(format!("Host {} not connected", brick.host)));
    }
    if peer.state != PeerState::Befriended {
        return Err(stranger());
    }
    Ok(peer.id)
}

fn by_node<'a>(
    bricks: &'a [BrickSpec],
    nodes: &[NodeId],
) -> BTreeMap<NodeId, Vec<(usize, &'a BrickSpec)>> {
    let mut groups: BTreeMap<NodeId, Vec<(usize, &BrickSpec)>> = BTreeMap::new();
    for (i, (brick, node)) in bricks.iter().zip(nodes).enumerate() {
        groups.entry(*node).or_default().push((i, brick));
    }
    groups
}

/// What each node said last of its bricks; `None` before all of them were asked.
fn findings<'a>(cx: &Cx<'a>, nodes: &[NodeId]) -> Option<BTreeMap<NodeId, &'a Answer>> {
    let found = cx.answers.iter().filter(|a| matches!(a.question, Question::CheckBricks { .. }));
    let found: BTreeMap<NodeId, &Answer> = found.map(|a| (a.node, &a.answer)).collect();
    nodes.iter().all(|node| found.contains_key(node)).then_some(found)
}

/// Canonical path of each brick, where its node has told one.
fn places(
    bricks: &[BrickSpec],
    nodes: &[NodeId],
    found: &BTreeMap<NodeId, &Answer>,
) -> Vec<Option<String>> {
    let mut places = vec![None; bricks.len()];
    for (node, group) in by_node(bricks, nodes) {
        let told: Vec<&String> = match found[&node] {
            Answer::Places(places) => places.iter().collect(),
            Answer::Bricks(bricks) => bricks.iter().map(|brick| &brick.real_path).collect(),
            _ => vec![],
        };
        for ((i, _), place) in group.iter().zip(told) {
            places[*i] = Some(place.clone());
        }
    }
    places
}

/// No brick may contain, equal or lie inside another one of its node.
fn check_overlap(
    view: &View,
    wanted: &Wanted<'_>,
    nodes: &[NodeId],
    places: &[Option<String>],
) -> Result<(), Refusal> {
    let told = wanted.bricks.iter().zip(nodes).zip(places);
    let told = told.filter_map(|((brick, node), place)| Some((brick, (*node, place.as_deref()?))));
    let (bricks, places): (Vec<&BrickSpec>, Vec<_>) = told.unzip();
    match view.in_the_way(&places, wanted.instead_of) {
        None => Ok(()),
        Some(at) => Err(Refusal::staged(format!(
            "Brick: {} not available. Brick may be containing or be contained by an existing \
             brick.",
            bricks[at]
        ))),
    }
}

fn check_paths(
    wanted: &Wanted<'_>,
    nodes: &[NodeId],
    asked: impl Fn(NodeId) -> bool,
    compared: bool,
) -> Vec<Ask> {
    let instead_of = |node| wanted.instead_of.filter(|brick| brick.node == node);
    let groups = by_node(wanted.bricks, nodes).into_iter().filter(|(node, _)| asked(*node));
    let ask = |(node, group): (NodeId, Vec<(usize, &BrickSpec)>)| {
        let question = Question::CheckBricks {
            volume: wanted.volume.to_owned(),
            bricks: group.iter().map(|(_, b)| (b.host.clone(), b.path.clone())).collect(),
            force: wanted.force,
            any_device: wanted.any_device,
            instead_of: instead_of(node).map(|brick| brick.path.clone()),
            compared,
        };
        Ask::new(node, question)
    };
    groups.map(ask).collect()
}

/// The nodes' findings, `None` where one has still to look; a refusal of this node stands as it is,
/// another node's names the node.
fn checked_bricks(
    cx: &Cx<'_>,
    bricks: &[BrickSpec],
    nodes: &[NodeId],
    found: &BTreeMap<NodeId, &Answer>,
) -> Result<Option<Vec<CheckedBrick>>, Refusal> {
    let mut checked: Vec<Option<CheckedBrick>> = vec![None; bricks.len()];
    for (node, group) in by_node(bricks, nodes) {
        match found[&node] {
            Answer::Bricks(fit) => {
                for ((i, _), fit) in group.iter().zip(fit) {
                    checked[*i] = Some(fit.clone());
                }
            }
            Answer::Places(_) => {}
            // Asked once: a node that has gone would be silent again.
            answer => return Err(staging_failed(cx.view, node, answer)),
        }
    }
    Ok(checked.into_iter().collect())
}

/// Stock's words for a node that refused while staging.
pub fn staging_failed(view: &View, node: NodeId, answer: &Answer) -> Refusal {
    let (text, errno) = match answer {
        Answer::Refused { text, errno } => (text.clone(), *errno),
        Answer::Silent(text) => (text.clone(), crate::model::errno::INTERNAL),
        other => (format!("unexpected answer {other:?}"), crate::model::errno::INTERNAL),
    };
    if node == view.me {
        return Refusal::staged(text).with_errno(errno);
    }
    let host = view.peers.get(&node).and_then(|peer| peer.hostnames.first());
    let host = host.cloned().unwrap_or_else(|| node.to_string());
    Refusal::staged(format!("Staging failed on {host}. Error: {text}")).with_errno(errno)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Peer, PeerState};
    use crate::ops::{Answered, Site};
    use std::sync::Arc;
    use uuid::Uuid;

    fn with_h2(me: NodeId, id: NodeId) -> View {
        let mut view = View::alone(me);
        let peer = Peer { id, hostnames: vec!["h2".into()], state: PeerState::Befriended };
        Arc::make_mut(&mut view.peers).insert(id, peer);
        view
    }

    /// A node that goes between two questions is named, and not asked again.
    #[test]
    fn a_node_that_goes_while_it_is_asked() {
        let (me, gone) = (NodeId::fresh(), NodeId::fresh());
        let view = with_h2(me, gone);
        let bricks = [BrickSpec { host: "h2".into(), path: "/b".into() }];
        let wanted = Wanted::new("v", &bricks, false);
        let [asked] = &check_paths(&wanted, &[gone], |_| true, false)[..] else { panic!() };
        let answer = Answer::Silent("Node h2 is not connected any more".into());
        let answers = [Answered { node: gone, question: asked.question.clone(), answer }];
        let site = Site::sample();
        let fresh = [Uuid::nil(); 4];
        let cx = Cx { view: &view, site: &site, answers: &answers, fresh: &fresh };
        let found = findings(&cx, &[gone]).unwrap();
        let no = checked_bricks(&cx, &bricks, &[gone], &found).unwrap_err();
        assert_eq!(no.text, "Staging failed on h2. Error: Node h2 is not connected any more");
    }

    /// Where a node knows of a brick that has gone meanwhile it is asked to look all the same.
    #[test]
    fn a_node_behind_is_asked_again() {
        let (me, other) = (NodeId::fresh(), NodeId::fresh());
        let mut view = with_h2(me, other);
        view.alive.insert(other);
        let bricks = ["h1", "h2"].map(|host| BrickSpec { host: host.into(), path: "/b".into() });
        let plan = |answers: &[Answered]| {
            let fresh = [Uuid::nil(); 4];
            let site = Site::sample();
            let cx = Cx { view: &view, site: &site, answers, fresh: &fresh };
            place_bricks(&cx, Wanted::new("v", &bricks, false)).unwrap()
        };
        let answer = |ask: Ask, answer| Answered { node: ask.node, question: ask.question, answer };
        let fact = |name: &str, is_me| HostFacts {
            name: name.into(),
            is_me,
            addresses: vec![name.into()],
        };
        let fit =
            CheckedBrick { real_path: "/b".into(), mount_dir: "/b".into(), fsid: 1, warning: None };

        let BrickPlan::Ask(asks) = plan(&[]) else { panic!() };
        let hosts = Answer::Located(vec![fact("h1", true), fact("h2", false)]);
        let mut answers: Vec<Answered> =
            asks.into_iter().map(|ask| answer(ask, hosts.clone())).collect();
        let BrickPlan::Ask(asks) = plan(&answers) else { panic!() };
        answers.extend(asks.into_iter().map(|ask| {
            let found = match ask.node == me {
                true => Answer::Bricks(vec![fit.clone()]),
                false => Answer::Places(vec!["/b".into()]),
            };
            answer(ask, found)
        }));
        let BrickPlan::Ask(asks) = plan(&answers) else { panic!() };
        let [again] = &asks[..] else { panic!("{asks:?}") };
        assert_eq!(again.node, other);
        assert!(matches!(again.question, Question::CheckBricks { compared: true, .. }));
        answers.push(answer(again.clone(), Answer::Bricks(vec![fit])));
        let BrickPlan::Ready(placed) = plan(&answers) else { panic!() };
        assert_eq!(placed.iter().map(|brick| brick.node).collect::<Vec<_>>(), [me, other]);
    }

    #[test]
    fn lengths() {
        let brick = BrickSpec { host: "h".into(), path: "/a".into() };
        assert!(check_lengths("v", &brick).is_ok());
        let long = check_lengths(&"v".repeat(300), &brick).unwrap_err();
        assert!(long.text.starts_with("Volume file path for volume vvv"), "{}", long.text);
        let deep = BrickSpec { host: "h".into(), path: format!("/{}", "x".repeat(256)) };
        assert_eq!(
            check_lengths("v", &deep).unwrap_err().text,
            format!("brick path {deep} is too long.")
        );
    }
}
