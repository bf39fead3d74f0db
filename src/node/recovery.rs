//! Recovery sheets as the node carries them out: printing one, handing out to who has one, taking the place of one.
//!
//! A sheet is a keeper whose key is on paper. Whoever has it can be told what any node of the circle has, a cache too:
//! the roster, in which the statement that admitted the sheet carries what is sealed for it. With that a blank node
//! admits itself as keeper in the sheet's name, and removes the sheet. The secret of a sheet is kept nowhere.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use core::net::SocketAddr;
use zeroize::Zeroizing;

use super::circle::Circle;
use super::io::{Action, Answer, OpError, Reply};
use super::status::{Recovered, RecoveredCircle};
use super::{Effect, Node};
use crate::base::limits::{CIRCLES, INVITE_ADDRESSES, LABEL_MAX, PARCEL_EPOCHS};
use crate::base::{CircleId, ConnId, MemberKey, Snapshot, Ticket, TransportKey};
use crate::cert;
use crate::pair::{Handout, Parcel, Secret, Sheet, SheetKeys};
use crate::roster::{Added, Roster, SignedAddress};
use crate::seal::member::{verify, verify_transport};
use crate::seal::{CircleKey, Suite, TransportSecret};
use crate::wire::record::Bytes2;
use crate::wire::statement::{Device, Role, Saying, SignedStatement};

/// A recovery sheet as it is to be printed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PrintedSheet {
    /// Words and text.
    pub sheet: Sheet,
    /// Its name among the friends.
    pub name: String,
    /// The circles that it is for.
    pub circles: Vec<String>,
    /// Circles of this node's that it is not for: nobody else is in them, so nobody could give them back.
    pub alone: Vec<String>,
    /// One that this node printed before is valid, too, until somebody says that this one is on paper.
    pub older: bool,
}

/// A sheet whose place this node is taking.
pub struct Recovery {
    /// Of the operation.
    ticket: Ticket,
    keys: SheetKeys,
    left: VecDeque<SocketAddr>,
    /// The dial under way, and where it goes.
    dial: Option<(Ticket, SocketAddr)>,
    conn: Option<ConnId>,
    address: Option<SocketAddr>,
    /// Addresses that were asked, or are to be, and how many these may be.
    asked: BTreeSet<SocketAddr>,
    most: usize,
    /// So many more are asked once somebody has handed out each circle: who was away may not know the newest.
    further: usize,
    /// What the connection has handed out of a circle so far.
    gathered: Option<Handout>,
    found: BTreeMap<CircleId, Found>,
    /// Circles of the sheet that nobody has handed out yet.
    missing: BTreeSet<CircleId>,
    /// Why those who were asked did not help.
    why: String,
}

/// What is known of a circle of the sheet.
struct Found {
    /// Of the statements of all that handed some out.
    roster: Roster,
    parcel: Parcel,
    /// Signed address records.
    addresses: BTreeSet<Bytes>,
    /// Who handed it out, and where that was.
    reached: Vec<(TransportKey, SocketAddr)>,
}

impl<S: Snapshot> Node<S> {
    /// True for a circle that a sheet of this node's can be for.
    pub(super) fn prints_sheet(&self, circle: &Circle) -> bool {
        let keeps = circle.role() == Some(Role::Keeper) && (circle.root_seed.is_some() || circle.is_locked());
        keeps && circle.roster.allowed_transports().len() > 1
    }

    /// The names of the sheets that this node printed for a circle and that can be used, the last one at the end.
    pub(super) fn own_sheets(&self, circle: &Circle) -> Vec<String> {
        let own = circle.roster.sheets().filter(|sheet| sheet.by == self.me.device.member);
        own.map(|sheet| sheet.name.clone()).collect()
    }

    /// The keys by which what is handed out can be asked for.
    pub(super) fn sheets(&self) -> BTreeSet<TransportKey> {
        let circles = self.circles.values().filter(|circle| circle.role().is_some());
        circles.flat_map(|circle| circle.roster.sheet_transports()).collect()
    }

    /// Prints a sheet.
    pub(super) fn print_sheet(&mut self, ticket: Ticket, secret: [u8; 16]) -> Option<Reply> {
        match self.try_print(secret) {
            Ok(printed) => {
                self.flush_at = Some(self.now.instant);
                self.when_durable(Effect::Reply(ticket, Ok(Answer::Sheet(Box::new(printed)))));
                None
            }
            Err(error) => Some(Err(error)),
        }
    }

    fn try_print(&mut self, secret: [u8; 16]) -> Result<PrintedSheet, OpError> {
        let mine = self.circles.values().filter(|circle| circle.role().is_some());
        let (fit, others): (Vec<&Circle>, Vec<&Circle>) = mine.partition(|circle| self.prints_sheet(circle));
        if fit.is_empty() {
            let with_friends = others.iter().any(|circle| circle.roster.allowed_transports().len() > 1);
            return Err(OpError::NotPermitted(match with_friends {
                true => "only a keeper of a circle prints a recovery sheet: who is none is invited anew by one".into(),
                false => "nobody else is in a circle of this node's, so nobody could give anything back: pair with a friend's box or a cache first".into(),
            }));
        }
        let full = fit.iter().find(|circle| circle.epochs.len() > PARCEL_EPOCHS);
        if let Some(circle) = full {
            let (name, epochs) = (self.shown_name(circle), circle.epochs.len());
            let why = format!("{name} has had {epochs} keys, and a recovery sheet is for {PARCEL_EPOCHS} at most");
            return Err(OpError::NotPermitted(why));
        }
        let circles = fit.iter().map(|circle| self.shown_name(circle)).collect();
        let of_owner = |circle: &&Circle| circle.role() == Some(Role::Keeper);
        let alone = others.into_iter().filter(of_owner).map(|circle| self.shown_name(circle)).collect();
        let ids: Vec<CircleId> = fit.into_iter().map(|circle| circle.id).collect();
        let sheet = Sheet::new(secret, self.hints(&ids));
        let keys = sheet.keys();
        let name = self.sheet_name(&ids);
        let me = self.me.device.member;
        let older = ids.iter().any(|id| !self.sheets_by(id, &me).is_empty());
        for (at, id) in ids.iter().enumerate() {
            if let Err(error) = self.admit_sheet(id, &ids, &keys, &name) {
                // Nobody will ever have it.
                for id in &ids[..at] {
                    self.drop_sheet(id, keys.member.public())?;
                }
                return Err(error);
            }
        }
        ids.iter().try_for_each(|id| self.renew_epoch(id))?;
        Ok(PrintedSheet { sheet, name, circles, alone, older })
    }

    /// The sheet that was printed last is on paper: those before it are valid no more.
    pub(super) fn sheet_written(&mut self, ticket: Ticket) -> Option<Reply> {
        if let Err(error) = self.drop_older() {
            return Some(Err(error));
        }
        self.flush_at = Some(self.now.instant);
        self.when_durable(Effect::Reply(ticket, Ok(Answer::Done)));
        None
    }

    fn drop_older(&mut self) -> Result<(), OpError> {
        let me = self.me.device.member;
        let kept = self.circles.values().filter(|circle| circle.role() == Some(Role::Keeper));
        // A new sheet is for all circles that one can be for; in the others the older one is worthless, too.
        let kept: Vec<(CircleId, bool)> = kept.map(|circle| (circle.id, self.prints_sheet(circle))).collect();
        if kept.iter().all(|(id, _)| self.sheets_by(id, &me).is_empty()) {
            let why = "there is no recovery sheet of this node's: `dustfs sheet --print` makes one";
            return Err(OpError::NotPermitted(why.into()));
        }
        for (id, fits) in kept {
            let mut older = self.sheets_by(&id, &me);
            older.truncate(older.len().saturating_sub(usize::from(fits)));
            older.into_iter().try_for_each(|sheet| self.drop_sheet(&id, sheet))?;
            self.renew_epoch(&id)?;
        }
        Ok(())
    }

    /// Puts a sheet on the roster, with what is sealed for it.
    fn admit_sheet(&mut self, id: &CircleId, all: &[CircleId], keys: &SheetKeys, name: &str) -> Result<(), OpError> {
        let nonce = self.fresh_nonce();
        let circle = self.circles.get(id).ok_or(OpError::NotFound)?;
        let root = circle.root_seed.as_ref().ok_or(OpError::Locked)?;
        let parcel = Parcel {
            circle: *id,
            all: all.to_vec(),
            root_secret: Secret(**root),
            epochs: circle.epochs.iter().map(|(epoch, held)| (*epoch, Secret(held.key.0))).collect(),
        };
        let mut short = [0; 12];
        short.copy_from_slice(&nonce[..12]);
        let sealed = parcel.seal(keys, short).map_err(|error| OpError::NotPermitted(error.to_string()))?;
        let device = Device::sheet(name.into(), keys.member.public());
        self.say(id, Saying::Admit { device, role: Role::Keeper, parcel: Some(Bytes2::from(sealed)) })
    }

    fn sheets_by(&self, id: &CircleId, keeper: &MemberKey) -> Vec<MemberKey> {
        let sheets = self.circles.get(id).into_iter().flat_map(|circle| circle.roster.sheets());
        sheets.filter(|sheet| sheet.by == *keeper).map(|sheet| sheet.device.member).collect()
    }

    fn drop_sheet(&mut self, id: &CircleId, sheet: MemberKey) -> Result<(), OpError> {
        self.say(id, Saying::Remove { member: sheet, cuts: Vec::new() })
    }

    /// Removes the sheets that a keeper printed.
    pub(super) fn remove_sheets(&mut self, id: &CircleId, keeper: &MemberKey) -> Result<(), OpError> {
        self.sheets_by(id, keeper).into_iter().try_for_each(|sheet| self.drop_sheet(id, sheet))
    }

    /// Starts an epoch where none is usable.
    fn renew_epoch(&mut self, id: &CircleId) -> Result<(), OpError> {
        let Some(circle) = self.circles.get(id).filter(|circle| circle.roster.needs_epoch()) else { return Ok(()) };
        let suite = circle.latest_suite();
        let (key, envelope) = (CircleKey(self.fresh()), self.fresh());
        self.mint_epoch(id, suite, key, envelope)
    }

    /// By its name a sheet is known to people, who may have to remove it: on paper it is the one that each of these
    /// circles shows, where two of one name are told apart by a number.
    fn sheet_name(&self, circles: &[CircleId]) -> String {
        let circles: Vec<&Circle> = circles.iter().filter_map(|id| self.circles.get(id)).collect();
        let taken =
            |name: &String| circles.iter().any(|circle| circle.roster.members().any(|member| member.name == *name));
        let name = self.plain_sheet_name();
        let numbered = (2..).map(|number| {
            let number = format!(" ({number})");
            short(&name, LABEL_MAX - number.len()) + &number
        });
        let mut names = [name.clone()].into_iter().chain(numbered);
        names.find(|name| !taken(name)).expect("numbers outlast members")
    }

    fn plain_sheet_name(&self) -> String {
        let ((year, month, day), of) = (self.now.wall.date(), &self.me.device.name);
        let name = match cert::knows_date(self.now.wall) {
            true => format!("recovery sheet {year:04}-{month:02}-{day:02} of {of}"),
            false => format!("recovery sheet of {of}"),
        };
        short(&name, LABEL_MAX)
    }

    /// Where those are who can hand out what a sheet needs: caches first, which are always there.
    fn hints(&self, circles: &[CircleId]) -> Vec<SocketAddr> {
        let mut ranked = Vec::new();
        let rosters = circles.iter().filter_map(|id| self.circles.get(id)).map(|circle| &circle.roster);
        for member in rosters.flat_map(|roster| roster.present()) {
            let transport = member.device.transport;
            if transport == self.me.device.transport {
                continue;
            }
            let reached = self.peers.by_key(&transport).filter(|(_, peer)| peer.dialed).map(|(_, peer)| peer.remote);
            let told = self.book.get(&transport).map(|signed| &signed.addresses[..]).unwrap_or_default();
            for (nth, address) in reached.into_iter().chain(told.iter().copied()).enumerate() {
                ranked.push((address.ip().is_loopback(), nth, member.role, address));
            }
        }
        ranked.sort();
        let mut hints: Vec<SocketAddr> = Vec::new();
        for (.., address) in ranked {
            if hints.len() < INVITE_ADDRESSES && !hints.contains(&address) {
                hints.push(address);
            }
        }
        hints
    }

    /// Somebody has proved a sheet's key: it is told the rosters of the sheet's circles, and who is where.
    pub(super) fn hand_out(&mut self, conn: ConnId) {
        let Some((key, remote)) = self.peers.get(conn).map(|peer| (peer.transport, peer.remote)) else { return };
        let fits = |circle: &&Circle| circle.role().is_some() && circle.roster.sheet_transports().contains(&key);
        let circles: Vec<&Circle> = self.circles.values().filter(fits).collect();
        let handouts = Handout::parts(circles.iter().map(|circle| {
            let of_circle = self.book.iter().filter(|signed| circle.admits(&signed.transport));
            let statements = circle.roster.statements().map(|statement| statement.bytes.clone());
            (statements, of_circle.map(|signed| signed.bytes.clone()).collect())
        }));
        log::info!("somebody at {remote} has a recovery sheet for {} circles", circles.len());
        for handout in handouts {
            match handout.encode() {
                Ok(payload) => self.send(conn, 0, payload, Bytes::new()),
                Err(error) => return self.close(conn, error.to_string()),
            }
        }
    }

    /// Takes the place of a sheet.
    pub(super) fn recover(&mut self, ticket: Ticket, typed: &str, at: Vec<SocketAddr>) -> Option<Reply> {
        let sheet = match Sheet::parse(typed) {
            Ok(sheet) => sheet,
            Err(error) => return Some(Err(OpError::Invalid(error.to_string()))),
        };
        if self.recovery.is_some() {
            return Some(Err(OpError::Busy));
        }
        let left: VecDeque<SocketAddr> = at.into_iter().chain(sheet.addresses.iter().copied()).collect();
        if left.is_empty() {
            let why = "twelve words name no address: say where a friend's box or a cache of the circle is";
            return Some(Err(OpError::Invalid(why.into())));
        }
        self.recovery = Some(Recovery {
            ticket,
            keys: sheet.keys(),
            most: left.len() + FURTHER,
            asked: left.iter().copied().collect(),
            left,
            dial: None,
            conn: None,
            address: None,
            further: FURTHER,
            gathered: None,
            found: BTreeMap::new(),
            missing: BTreeSet::new(),
            why: String::new(),
        });
        self.recover_on();
        None
    }

    /// Asks the next one, or ends.
    fn recover_on(&mut self) {
        let dial = self.ticket();
        let Some(recovery) = &mut self.recovery else { return };
        (recovery.conn, recovery.gathered) = (None, None);
        let has_all = !recovery.found.is_empty() && recovery.missing.is_empty();
        match recovery.left.pop_front().filter(|_| !has_all || recovery.further > 0) {
            Some(address) => {
                recovery.further -= usize::from(has_all);
                recovery.dial = Some((dial, address));
                let key = TransportSecret::from_seed(*recovery.keys.member.seed());
                self.actions.push_back(Action::DialSheet { ticket: dial, address, key });
            }
            None => self.recover_end(),
        }
    }

    fn recover_end(&mut self) {
        let Some(mut recovery) = self.recovery.take() else { return };
        let mut circles = Vec::new();
        for (id, found) in std::mem::take(&mut recovery.found) {
            match self.take_place(&recovery.keys, found) {
                Ok(circle) => circles.push(circle),
                Err(why) => {
                    recovery.missing.insert(id);
                    recovery.note(&why);
                }
            }
        }
        if circles.is_empty() {
            let why = format!("nothing came of the recovery sheet: {}", recovery.why);
            return self.reply(recovery.ticket, Err(OpError::NotPermitted(why)));
        }
        let recovered = Recovered { circles, missing: recovery.missing.len() as u64 };
        self.when_durable(Effect::Reply(recovery.ticket, Ok(Answer::Recovered(recovered))));
    }

    /// A dial of ours came to nothing; false where it is not of a recovery.
    pub(super) fn recovery_dial_failed(&mut self, ticket: Ticket, why: &str) -> bool {
        let Some(recovery) = &mut self.recovery else { return false };
        if recovery.dial.is_none_or(|(dial, _)| dial != ticket) {
            return false;
        }
        recovery.dial = None;
        recovery.note(why);
        self.recover_on();
        true
    }

    /// Somebody answers, and will tell.
    pub(super) fn recovery_connected(&mut self, conn: ConnId, ticket: Ticket) {
        match &mut self.recovery {
            Some(recovery) if recovery.dial.is_some_and(|(dial, _)| dial == ticket) => {
                recovery.address = recovery.dial.take().map(|(_, address)| address);
                recovery.conn = Some(conn);
            }
            _ => self.close(conn, "nobody waits for this connection".into()),
        }
    }

    /// A connection by a sheet is gone.
    pub(super) fn recovery_closed(&mut self, conn: ConnId, why: &str) {
        if let Some(recovery) = self.recovery.as_mut().filter(|recovery| recovery.conn == Some(conn)) {
            recovery.note(why);
            self.recover_on();
        }
    }

    /// What is handed out to us came; from who has a sheet nothing is heard.
    pub(super) fn recovery_frame(&mut self, conn: ConnId, payload: &[u8]) {
        if self.recovery.as_ref().is_none_or(|recovery| recovery.conn != Some(conn)) {
            return self.close(conn, "who has a recovery sheet has nothing to say".into());
        }
        let handout = Handout::decode(payload).map_err(|error| error.to_string());
        let more = handout.as_ref().is_ok_and(|handout| handout.more > 0);
        let taken = handout.and_then(|handout| self.gather(conn, handout));
        if let (Err(why), Some(recovery)) = (taken, &mut self.recovery) {
            recovery.gathered = None;
            recovery.note(&why);
        }
        if more {
            return;
        }
        let taken = self.take_gathered(conn);
        if let Some(recovery) = &mut self.recovery {
            taken.unwrap_or_else(|why| recovery.note(&why));
            recovery.conn = None;
        }
        self.close(conn, "all of it came".into());
        self.recover_on();
    }

    /// Puts the parts of what is handed out of a circle together; what was whole before is taken.
    fn gather(&mut self, conn: ConnId, part: Handout) -> Result<(), String> {
        let before = if part.begins() { self.take_gathered(conn) } else { Ok(()) };
        let Some(recovery) = &mut self.recovery else { return Ok(()) };
        before.unwrap_or_else(|why| recovery.note(&why));
        match &mut recovery.gathered {
            Some(gathered) => gathered
                .join(part)
                .map_err(|error| format!("{error}: let a keeper of the circle invite this box instead")),
            None => {
                recovery.gathered = Some(part);
                Ok(())
            }
        }
    }

    fn take_gathered(&mut self, conn: ConnId) -> Result<(), String> {
        let gathered = self.recovery.as_mut().and_then(|recovery| recovery.gathered.take());
        gathered.map_or(Ok(()), |gathered| self.take_handout(conn, gathered))
    }

    /// Takes a circle's roster, opens what is sealed for the sheet, and looks who else can be asked.
    fn take_handout(&mut self, conn: ConnId, handout: Handout) -> Result<(), String> {
        let Some(recovery) = &mut self.recovery else { return Ok(()) };
        let sheet = recovery.keys.member.public();
        let decoded = handout.statements.into_iter().map(|bytes| SignedStatement::decode(bytes, verify));
        let statements = decoded.collect::<Result<Vec<_>, _>>().map_err(|error| error.to_string())?;
        let (roster, _) = Roster::load(statements.clone()).map_err(|error| error.to_string())?;
        let sealed = roster.parcel_of(&sheet).ok_or("its circle knows no such sheet")?;
        let parcel = Parcel::open(&recovery.keys, sealed).map_err(|error| error.to_string())?;
        let id = roster.circle();
        if parcel.circle != id {
            return Err("what is kept for the sheet is of another circle".into());
        }
        if let Some(held) = self.circles.get(&id) {
            return Err(format!("this node is in {} already", self.shown_name(held)));
        }
        if !recovery.found.contains_key(&id) && self.circles.len() + recovery.found.len() >= CIRCLES {
            return Err(format!("a node has at most {CIRCLES} circles"));
        }
        let peer = self.peers.get(conn).map(|peer| peer.transport);
        let reached = peer.zip(recovery.address);
        let records = handout.addresses.iter().cloned().map(|bytes| SignedAddress::decode(bytes, verify_transport));
        let others = records.filter_map(Result::ok).filter(|record| Some(record.transport) != peer);
        for record in others.filter(|record| roster.member_by_transport(&record.transport).is_some()) {
            let first = record
                .addresses
                .first()
                .filter(|first| recovery.asked.len() < recovery.most && !recovery.asked.contains(first));
            recovery.asked.extend(first);
            recovery.left.extend(first);
        }
        recovery.missing.extend(parcel.all.iter().filter(|id| !self.circles.contains_key(id)));
        // All statements that anybody has: what follows from them is the newest that can be known here.
        let found = match recovery.found.entry(id) {
            Entry::Vacant(place) => {
                place.insert(Found { roster, parcel, addresses: BTreeSet::new(), reached: Vec::new() })
            }
            Entry::Occupied(place) => {
                let found = place.into_mut();
                found.roster.extend(statements);
                found
            }
        };
        found.reached.extend(reached);
        found.addresses.extend(handout.addresses);
        recovery.missing.remove(&id);
        Ok(())
    }

    /// Admits this node to a circle in the sheet's name, once all that were asked have told what they know.
    fn take_place(&mut self, keys: &SheetKeys, found: Found) -> Result<RecoveredCircle, String> {
        let Found { mut roster, parcel, addresses, reached } = found;
        let (id, sheet) = (roster.circle(), keys.member.public());
        if roster.role_of(&sheet) != Some(Role::Keeper) {
            return Err("the sheet was used or removed".into());
        }
        let printer = roster.member(&sheet).map(|sheet| sheet.by);
        let printed_by = printer.filter(|by| roster.role_of(by).is_some()).and_then(|by| roster.name_of(&by));
        let printed_by = printed_by.map(str::to_string);
        let saying = Saying::Admit { device: self.me.device.clone(), role: Role::Keeper, parcel: None };
        let statement = roster.say(sheet, self.fresh_nonce(), saying).sign(|bytes| keys.member.sign(bytes));
        if roster.add(statement).map_err(|error| error.to_string())? != Added::New {
            return Err("its roster is not whole".into());
        }
        let circle = self.circle_of(roster, keys, &parcel)?;
        self.take_in(circle, addresses.into_iter().collect());
        // With that it is out, also for whoever finds it and has an older roster. So are others of whom it was printed by,
        // of which one may have been made and never come to paper.
        let others = printer.map(|printer| self.sheets_by(&id, &printer)).unwrap_or_default();
        for sheet in [sheet].into_iter().chain(others) {
            if let Err(error) = self.drop_sheet(&id, sheet) {
                log::warn!("a recovery sheet could not be removed for good: {error}");
            }
        }
        // What the others know of where they are may be older than what has just been reached.
        for (transport, address) in reached {
            if self.circles[&id].admits(&transport) {
                self.dials.learn(transport, &[address]);
            }
        }
        self.renew_epoch(&id).map_err(|error| error.to_string())?;
        let name = self.circles.get(&id).map(|circle| self.shown_name(circle)).unwrap_or_default();
        log::info!("this node took the place of a recovery sheet in {name}");
        Ok(RecoveredCircle { name, printed_by })
    }

    /// The circle of a roster that has this node as a keeper, with the keys that the sheet was given.
    fn circle_of(&mut self, roster: Roster, keys: &SheetKeys, parcel: &Parcel) -> Result<Circle, String> {
        let (root, serial) = (Zeroizing::new(parcel.root_secret.0), self.fresh_nonce());
        let leaf = cert::issue_leaf(&root, roster.root_der(), &self.me.device.transport, serial);
        let leaf = leaf.map_err(|error| error.to_string())?;
        let mut circle = Circle::new(roster, false, leaf.into(), self.me.device.member);
        circle.root_seed = Some(root);
        for (epoch, key) in &parcel.epochs {
            let known =
                circle.roster.epoch(epoch).and_then(|known| Some((known.number, Suite::from_number(known.suite)?)));
            if let Some((number, suite)) = known {
                circle.learn_epoch(*epoch, number, suite, CircleKey(key.0));
            }
        }
        circle.open_missed(&keys.member);
        if circle.epochs.is_empty() {
            return Err("no key to read with was sealed for the sheet".into());
        }
        Ok(circle)
    }
}

impl Recovery {
    /// Why one of those who were asked did not help.
    fn note(&mut self, why: &str) {
        if self.why.len() < WORDS_MAX {
            let apart = if self.why.is_empty() { "" } else { "; " };
            self.why = format!("{}{apart}{why}", self.why);
        }
    }
}

/// Members that are asked because a roster names them, and addresses that are asked once all circles were handed out: a dial
/// takes 10 s at most.
const FURTHER: usize = 4;

/// The beginning of a name.
fn short(name: &str, bytes: usize) -> String {
    let end = (0..=bytes.min(name.len())).rev().find(|at| name.is_char_boundary(*at));
    name[..end.unwrap_or(0)].to_string()
}

/// Bytes of what is told of those who did not help, or a little more.
const WORDS_MAX: usize = 600;
