//! From catalog files to a [`Catalog`]: reads, checks, takes over, and says what the operator's files make less strict.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use crate::call::{Class, Digest};

use super::dispatch::{self, Choice, Way};
use super::facts::Facts;
use super::file::{self, By, Dispatcher, File, Raise};
use super::handles::Form;
use super::pointer::Pointer;
use super::problem::{CatalogError, last_mention};
use super::{Catalog, Entry};

pub(super) const BUILTIN: [(&str, &str); 4] = [
    ("billing", include_str!("../../policies/catalog/billing.yaml")),
    ("statsig", include_str!("../../policies/catalog/statsig.yaml")),
    ("stigg", include_str!("../../policies/catalog/stigg.yaml")),
    ("stripe", include_str!("../../policies/catalog/stripe.yaml")),
];
const MAX_BYTES: u64 = 1 << 20;
/// As many entries may take over from each other in a row.
const MAX_LIKE: usize = 4;
const FORM_HELP: &str = "the form of a catalog is described in policies/README.md";
const DIGEST_DOMAIN: &str = "countersign.catalog/v1";

/// A file and its text.
struct Source {
    name: String,
    text: String,
    file: File,
}

impl Source {
    fn problem(&self, at: &str, message: impl Into<String>, help: impl Into<String>) -> CatalogError {
        CatalogError::new(&self.name, message, help).at(&self.text, at)
    }
}

/// # Errors
/// As [`Catalog::builtin`] says.
pub(super) fn builtin(vendor: Option<&str>) -> Result<Catalog, CatalogError> {
    load(vendor, &[] as &[&Path])
}

/// # Errors
/// As [`Catalog::load`] says.
pub(super) fn load(vendor: Option<&str>, extra: &[impl AsRef<Path>]) -> Result<Catalog, CatalogError> {
    let mut own = Vec::new();
    for path in extra {
        let name = path.as_ref().display().to_string();
        let source = parse(&name, read(path.as_ref(), &name)?)?;
        if let Some(other) = source.file.vendor.as_deref().filter(|other| Some(*other) != vendor) {
            let help = "list the file at a server of that vendor, or leave `vendor` out of it";
            return Err(source.problem("vendor", format!("the catalog is for vendor {other}"), help));
        }
        own.push(source);
    }
    let builtin = BUILTIN.iter().find(|(name, _)| Some(*name) == vendor);
    if let (None, Some(vendor)) = (builtin, vendor)
        && own.iter().all(|source| source.file.vendor.is_none())
    {
        let known = BUILTIN.map(|(name, _)| name).join(", ");
        let help = format!("use {known}, or leave `vendor` out, or list a catalog file that says `vendor: ...`");
        return Err(CatalogError::new("vendor", format!("there is no catalog for {vendor}"), help));
    }
    let mut sources = Vec::new();
    if let Some((name, text)) = builtin {
        sources.push(parse(&format!("builtin/{name}.yaml"), (*text).to_owned())?);
    }
    let shipped = Builder::new(&sources)?.build()?;
    if own.is_empty() {
        return Ok(shipped);
    }
    no_entry_twice(&own)?;
    sources.extend(own);
    let mut catalog = Builder::new(&sources)?.build()?;
    catalog.loosened = loosened(&shipped, &catalog, &sources);
    Ok(catalog)
}

fn read(path: &Path, name: &str) -> Result<String, CatalogError> {
    let unreadable = |error: std::io::Error| {
        CatalogError::new(
            name,
            format!("cannot be read: {error}"),
            "give a path that exists and that this user may read",
        )
    };
    if path.metadata().map_err(unreadable)?.len() > MAX_BYTES {
        return Err(CatalogError::new(name, "larger than 1 MiB", "split the file"));
    }
    std::fs::read_to_string(path).map_err(unreadable)
}

fn parse(name: &str, text: String) -> Result<Source, CatalogError> {
    let file: File = serde_yaml::from_str(&text).map_err(|error| {
        let (line, column) = error.location().map_or((0, 0), |at| (at.line(), at.column()));
        let message = error.to_string();
        let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message);
        CatalogError { line, column, ..CatalogError::new(name, message, FORM_HELP) }
    })?;
    let source = Source { name: name.to_owned(), text, file };
    for names in [source.file.tool_names().collect::<Vec<_>>(), source.file.operation_names().collect()] {
        let mut seen = HashSet::new();
        if let Some(twice) = names.into_iter().find(|name| !seen.insert(name.as_str())) {
            return Err(source.problem(twice, format!("{twice} is listed twice"), "keep one entry"));
        }
    }
    Ok(source)
}

impl File {
    fn tool_names(&self) -> impl Iterator<Item = &String> {
        self.reads.iter().chain(self.tools.0.keys()).chain(self.dispatchers.0.keys())
    }

    fn operation_names(&self) -> impl Iterator<Item = &String> {
        self.operations.reads.iter().chain(self.operations.others.0.keys())
    }
}

/// Two files of the operator's may not say something about the same name: neither is the first.
fn no_entry_twice(own: &[Source]) -> Result<(), CatalogError> {
    let (mut tools, mut operations) = (HashMap::new(), HashMap::new());
    for source in own {
        let tools = source.file.tool_names().map(|name| (name, tools.insert(name, &source.name)));
        let operations = source.file.operation_names().map(|name| (name, operations.insert(name, &source.name)));
        if let Some((name, other)) = tools.chain(operations).find_map(|(name, other)| Some((name, other?))) {
            return Err(source.problem(name, format!("{other} has {name} too"), "keep the entry in one file"));
        }
    }
    Ok(())
}

/// What the files say together, by name; a later file replaces what an earlier one says.
#[derive(Default)]
struct Builder<'a> {
    sources: &'a [Source],
    templates: BTreeMap<&'a str, (&'a Source, &'a file::Facts)>,
    tools: BTreeMap<&'a str, (&'a Source, Said<'a>)>,
    operations: BTreeMap<&'a str, (&'a Source, Option<&'a file::Facts>)>,
    arguments: HashMap<String, Vec<String>>,
}

/// What a file says about a tool.
#[derive(Clone, Copy)]
enum Said<'a> {
    Reads,
    Facts(&'a file::Facts),
    Dispatches(&'a Dispatcher),
}

impl<'a> Builder<'a> {
    fn new(sources: &'a [Source]) -> Result<Builder<'a>, CatalogError> {
        let mut all = Builder { sources, ..Builder::default() };
        for source in sources {
            let file = &source.file;
            all.templates.extend(file.templates.0.iter().map(|(name, facts)| (name.as_str(), (source, facts))));
            all.tools.extend(file.reads.iter().map(|name| (name.as_str(), (source, Said::Reads))));
            let tools = file.tools.0.iter().map(|(name, facts)| (name.as_str(), (source, Said::Facts(facts))));
            all.tools.extend(tools);
            let dispatchers = file.dispatchers.0.iter();
            all.tools.extend(dispatchers.map(|(name, by)| (name.as_str(), (source, Said::Dispatches(by)))));
            all.operations.extend(file.operations.reads.iter().map(|name| (name.as_str(), (source, None))));
            let others = file.operations.others.0.iter();
            all.operations.extend(others.map(|(name, facts)| (name.as_str(), (source, Some(facts)))));
            all.arguments.extend(file.arguments.0.clone());
        }
        Ok(all)
    }

    fn build(mut self) -> Result<Catalog, CatalogError> {
        let mut catalog = Catalog { arguments: std::mem::take(&mut self.arguments), ..Catalog::default() };
        for (name, (source, facts)) in &self.templates {
            self.taken_over(source, name, facts, 0)?;
        }
        for (name, (source, facts)) in &self.operations {
            let facts = match facts {
                None => Facts::of_class(Class::Read),
                Some(facts) => self.compiled(source, name, facts)?,
            };
            if !facts.inside.is_empty() {
                let help = "say `inside` at the tool or dispatcher";
                return Err(source.problem(name, format!("the operation {name} says `inside`"), help));
            }
            catalog.operations.insert((*name).to_owned(), facts);
        }
        for (name, (source, said)) in &self.tools {
            let entry = match said {
                Said::Reads => Entry::Facts(Box::new(Facts::of_class(Class::Read))),
                Said::Facts(facts) => Entry::Facts(Box::new(self.compiled(source, name, facts)?)),
                Said::Dispatches(by) => Entry::Dispatcher(Box::new(self.dispatcher(source, name, by)?)),
            };
            catalog.tools.insert((*name).to_owned(), entry);
        }
        for source in self.sources {
            self.rest(source, &mut catalog)?;
        }
        for (route, operation) in &catalog.routes {
            catalog.routes_by_path.add(route, operation);
        }
        // Some operations have no other name than their route.
        for name in catalog.operations.keys().filter(|name| is_route(name) && !catalog.routes.contains_key(*name)) {
            catalog.routes_by_path.add(name, name);
        }
        let texts: Vec<_> = self.sources.iter().map(|source| source.text.as_bytes()).collect();
        catalog.digest = (!texts.is_empty()).then(|| Digest::of_fields(DIGEST_DOMAIN, &texts));
        Ok(catalog)
    }

    /// What a file says about no name in particular.
    fn rest(&self, source: &Source, catalog: &mut Catalog) -> Result<(), CatalogError> {
        let file = &source.file;
        catalog.keys.extend(file.keys.iter().cloned());
        let (environment, own) = (&mut catalog.environment, &file.environment);
        environment.mode = own.mode.clone().or(environment.mode.take());
        environment.absent = own.absent.or(environment.absent);
        environment.accounts.extend(own.accounts.iter().cloned());
        environment.environments.extend(own.environments.iter().cloned());
        catalog.confirmations.extend(file.confirmations.iter().cloned());
        catalog.results.mode = file.results.mode.clone().or(catalog.results.mode.take());
        // The operator's are made first.
        catalog.probes.splice(0..0, file.probe.iter().cloned());
        for handle in &file.handles {
            if handle.method.is_some() != handle.path.is_some() {
                let message = format!("handles from {} have a method or a path alone", handle.from);
                return Err(source.problem(&handle.from, message, "say `method` and `path`, or neither"));
            }
            let form = Form {
                handle: handle.handle.clone(),
                lane: handle.lane.clone(),
                operation: handle.operation.clone(),
                route: handle.method.clone().zip(handle.path.clone()),
            };
            if !self.tools.contains_key(handle.from.as_str()) {
                let message = format!("handles come from {}, which is no tool of the catalog", handle.from);
                return Err(source.problem(&handle.from, message, "list the tool under `reads`"));
            }
            catalog.sources.entry(handle.from.clone()).or_default().push(form);
        }
        for (route, operation) in &file.operations.routes.0 {
            if !is_route(route) {
                let help = "write a route as `GET /v1/things/{id}`";
                return Err(source.problem(route, format!("{route:?} is no method and path"), help));
            }
            if !self.operations.contains_key(operation.as_str()) {
                return Err(self.no_such(source, operation, &format!("the route {route}")));
            }
            catalog.routes.insert(route.clone(), operation.clone());
        }
        catalog.body = file.operations.body.unwrap_or(catalog.body);
        for name in &file.operations.switches {
            if name.parse::<http::HeaderName>().is_err() {
                let help = "write it as X-ENVIRONMENT-ID";
                return Err(source.problem(name, format!("{name:?} is no name of a header field"), help));
            }
            catalog.switches.push(name.to_ascii_lowercase());
        }
        for name in file.arguments.0.keys() {
            if !self.tools.contains_key(name.as_str()) && !self.operations.contains_key(name.as_str()) {
                return Err(self.no_such(source, name, "`arguments`"));
            }
        }
        Ok(())
    }

    fn no_such(&self, source: &Source, name: &str, whose: &str) -> CatalogError {
        let help = "list it under `operations`, or correct the name";
        source.problem(name, format!("{whose} names {name}, which the catalog does not have"), help)
    }

    /// An entry with everything that it takes over.
    fn compiled(&self, source: &Source, name: &str, facts: &file::Facts) -> Result<Facts, CatalogError> {
        let own = facts.raises.as_deref().unwrap_or_default();
        let facts = self.taken_over(source, name, facts, 0)?;
        let Some(class) = facts.class else {
            let help = "say `class: write` or another class, or take one over with `like`";
            return Err(source.problem(name, format!("{name} has no class"), help));
        };
        if own.iter().any(|raise| raise.class <= class) {
            let help = "a condition can only tighten: read < write < financial < destructive < unknown";
            return Err(source.problem(name, format!("a raise of {name} is no worse than {}", class.as_str()), help));
        }
        if let Some(magnitude) = &facts.magnitude
            && magnitude.value.is_empty() == magnitude.count.is_empty()
            && !(magnitude.value.is_empty() && magnitude.absent.is_some())
        {
            let message = format!("the magnitude of {name} needs either `value` or `count`, or `absent` alone");
            return Err(source.problem(name, message, FORM_HELP));
        }
        let both = |optional: bool, absent: &Option<String>| optional && absent.is_some();
        if facts.money.as_ref().is_some_and(|money| both(money.optional, &money.absent))
            || facts.magnitude.as_ref().is_some_and(|magnitude| both(magnitude.optional, &magnitude.absent))
        {
            let help = "keep `absent` where leaving it out means something, else `optional`";
            return Err(source.problem(name, format!("{name} says both `optional` and `absent`"), help));
        }
        Ok(Facts {
            class,
            reversible: facts.reversible,
            money: facts.money,
            targets: facts.targets.unwrap_or_default(),
            magnitude: facts.magnitude,
            unmeasured: facts.unmeasured.unwrap_or_default(),
            known: facts.known,
            environment: facts.environment,
            // Those that it takes over may be no worse than its class: they still say what is not measured.
            raises: facts.raises.unwrap_or_default(),
            effect: facts.effect,
            inside: facts.inside.map(|places| places.0).unwrap_or_default(),
            gated: facts.gated,
        })
    }

    fn taken_over(
        &self,
        source: &Source,
        name: &str,
        facts: &file::Facts,
        depth: usize,
    ) -> Result<file::Facts, CatalogError> {
        let Some(like) = &facts.like else { return Ok(facts.clone()) };
        if depth >= MAX_LIKE {
            let help = "let it take over from an entry that says everything itself";
            return Err(source.problem(name, format!("{name} takes over from too many entries in a row"), help));
        }
        let base = match (self.templates.get(like.as_str()), self.operations.get(like.as_str())) {
            (Some((source, base)), _) | (None, Some((source, Some(base)))) => {
                self.taken_over(source, like, base, depth + 1)?
            }
            (None, Some((_, None))) => file::Facts::of_class(Class::Read),
            (None, None) => {
                let help = "`like` takes the name of a template or of an operation";
                return Err(source.problem(like, format!("{name} is like {like}, which is not there"), help));
            }
        };
        Ok(file::Facts {
            like: None,
            class: facts.class.or(base.class),
            reversible: facts.reversible.or(base.reversible),
            money: facts.money.clone().or(base.money),
            targets: facts.targets.clone().or(base.targets),
            magnitude: facts.magnitude.clone().or(base.magnitude),
            unmeasured: facts.unmeasured.clone().or(base.unmeasured),
            known: facts.known.clone().or(base.known),
            environment: facts.environment.clone().or(base.environment),
            raises: facts.raises.clone().or(base.raises),
            effect: facts.effect.clone().or(base.effect),
            inside: facts.inside.clone().or(base.inside),
            gated: facts.gated.or(base.gated),
        })
    }

    fn dispatcher(&self, source: &Source, name: &str, said: &Dispatcher) -> Result<dispatch::Dispatcher, CatalogError> {
        let wrong = |message: &str, help: &str| Err(source.problem(name, format!("{name} {message}"), help));
        let way = match said.by {
            By::Name if said.verbs.is_empty() => {
                return wrong("selects by name without `verbs`", "say what names of operations begin with");
            }
            By::Name => Way::Name(said.verbs.iter().map(|verb| verb.0.clone()).collect()),
            By::Handle => Way::Handle,
            By::Choice if said.choices.0.is_empty() || said.choices.0.values().any(|choice| choice.0.is_empty()) => {
                return wrong("selects by choice without `choices`", FORM_HELP);
            }
            By::Choice => {
                let unknown = said.choices.0.values().flat_map(|choice| choice.0.values());
                if let Some(unknown) = unknown.into_iter().find(|name| !self.operations.contains_key(name.as_str())) {
                    return Err(self.no_such(source, unknown, name));
                }
                let choices = said.choices.0.iter().map(|(says, options)| (says.clone(), options.0.iter()));
                Way::Choice(choices.map(|(says, options)| (says, options.filter_map(choice).collect())).collect())
            }
        };
        if said.by != By::Name && !said.verbs.is_empty() || said.by != By::Choice && !said.choices.0.is_empty() {
            return wrong("mixes ways to select", "`verbs` belong to `by: name`, `choices` to `by: choice`");
        }
        if said.by == By::Choice && said.inside.is_some() {
            return wrong("selects by choice and says `inside`", "a choice names the argument itself");
        }
        if said.by == By::Handle && self.sources.iter().all(|source| source.file.handles.is_empty()) {
            return wrong("takes handles, and no tool gives any", "say under `handles` where they come from");
        }
        let inside = said.inside.clone().map(|places| places.0).unwrap_or_default();
        let holders = said.choices.0.values().flat_map(|options| options.0.keys().cloned());
        let own = [said.selects.first().to_owned()].into_iter().chain(holders);
        let own = own.chain(inside.iter().map(|pointer| pointer.first().to_owned()));
        let beside = said.beside.clone().or((said.by == By::Choice).then(Vec::new));
        let takes = beside.map(|beside| beside.into_iter().chain(own).collect());
        Ok(dispatch::Dispatcher { selects: said.selects.clone(), way, inside, classes: said.classes.clone(), takes })
    }
}

fn choice((holder, operation): (&String, &String)) -> Option<Choice> {
    let holder = Pointer::parse(&format!("/{}", holder.replace('~', "~0").replace('/', "~1")))?;
    Some(Choice { holder, operation: operation.clone() })
}

fn is_route(text: &str) -> bool {
    text.split_once(' ').is_some_and(|(method, path)| is_method(method) && path.starts_with('/'))
}

fn is_method(text: &str) -> bool {
    matches!(text, "GET" | "POST" | "PUT" | "PATCH" | "DELETE")
}

/// What the operator's files make less strict than what the program says. They may: the files are theirs.
fn loosened(shipped: &Catalog, catalog: &Catalog, sources: &[Source]) -> Vec<String> {
    let mut said = Vec::new();
    let mut note = |name: &str, before: String, now: String| {
        let place = sources.iter().rev().find_map(|source| {
            let (line, column) = last_mention(&source.text, name)?;
            Some(format!("{}:{line}:{column}: ", source.name))
        });
        said.push(format!("{}{name} counts as {now}; the built-in catalog says {before}", place.unwrap_or_default()));
    };
    for (name, before) in &shipped.operations {
        if let Some(now) = catalog.operations.get(name).filter(|now| is_looser(before, now)) {
            note(name, without(before, now), span(now));
        }
    }
    for (name, before) in &shipped.tools {
        match (before, catalog.tools.get(name)) {
            (Entry::Facts(before), Some(Entry::Facts(now))) if is_looser(before, now) => {
                note(name, without(before, now), span(now));
            }
            (Entry::Dispatcher(_), Some(Entry::Facts(now))) => {
                note(name, "that it depends on its arguments".to_owned(), span(now));
            }
            (Entry::Facts(before), Some(Entry::Dispatcher(_))) => {
                note(name, span(before), "depending on its arguments".to_owned());
            }
            (_, Some(_) | None) => {}
        }
    }
    if shipped.body != catalog.body && !shipped.routes.is_empty() {
        note("body", format!("that it is {}", shipped.body.as_str()), catalog.body.as_str().to_owned());
    }
    said.sort();
    said
}

fn is_looser(before: &Facts, now: &Facts) -> bool {
    let gated = |facts: &Facts| facts.gated.unwrap_or(facts.class);
    now.class < before.class
        || now.worst() < before.worst()
        || before.raises.iter().any(|raise| raise.class > now.class && !is_kept(raise, now))
        || !newly_measured(before, now).is_empty()
        || newly_counted(before, now).is_some()
        || is_newly_known(before, now)
        || gated(now) < gated(before)
}

/// The same condition still makes it as bad, and as little measured.
fn is_kept(raise: &Raise, now: &Facts) -> bool {
    let same = |other: &&Raise| other.when == raise.when && other.class >= raise.class;
    now.raises.iter().filter(same).any(|other| raise.measured || !other.measured)
}

/// What the entry before says of the magnitude, where this one lets a smaller number stand for it.
fn newly_counted(before: &Facts, now: &Facts) -> Option<&'static str> {
    let (before, now) = (before.magnitude.as_ref()?, now.magnitude.as_ref().filter(|_| now.class != Class::Unknown)?);
    let is_told = !(now.value.is_empty() && now.count.is_empty());
    match (is_told, before.value.is_empty() && before.count.is_empty(), before.total && !now.total) {
        (true, true, _) => Some("that no number in a call tells how much it is"),
        (true, false, true) => Some("that its numbers are added up"),
        (true, false, false) | (false, ..) => None,
    }
}

/// A call may carry arguments within a limit of one entry that the entry before says nothing of.
fn is_newly_known(before: &Facts, now: &Facts) -> bool {
    now.class != Class::Unknown && (now.money.is_some() || now.magnitude.is_some()) && now.knows_more_than(before)
}

/// What a call may carry within a limit of one entry, and not within one of the entry before.
fn newly_measured<'a>(before: &'a Facts, now: &Facts) -> Vec<&'a str> {
    if now.class == Class::Unknown || (now.money.is_none() && now.magnitude.is_none()) {
        return Vec::new();
    }
    let raises = before.raises.iter().filter(|raise| !raise.measured && !is_kept(raise, now));
    let pointers = before.unmeasured.iter().chain(raises.flat_map(|raise| raise.when.pointers()));
    let mut lost: Vec<_> = pointers.filter(|pointer| !now.unmeasured.contains(pointer)).map(Pointer::as_str).collect();
    lost.dedup();
    lost
}

/// What the built-in catalog says of an entry that another one replaces.
fn without(before: &Facts, now: &Facts) -> String {
    let lost = newly_measured(before, now);
    let others = is_newly_known(before, now).then_some("arguments that it does not list");
    let lost: Vec<_> = lost.into_iter().chain(others).collect();
    let counted = newly_counted(before, now).map(|words| format!(", and {words}")).unwrap_or_default();
    match lost.is_empty() {
        true => format!("{}{counted}", span(before)),
        false => format!("{}{counted}, and that no limit covers a call with {}", span(before), lost.join(", ")),
    }
}

fn span(facts: &Facts) -> String {
    match facts.worst() {
        worst if worst == facts.class => worst.as_str().to_owned(),
        worst => format!("{} up to {}", facts.class.as_str(), worst.as_str()),
    }
}
