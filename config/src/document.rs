//! Reading TOML past its faults: what cannot be taken is noted and left out, and the rest is read again.
//!
//! Each round reads the whole document into the structure. serde says where it stopped; the value there, or the key that
//! nobody knows, is taken out of the document. There are as many rounds as faults, so their number is bounded.

use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue, Deserializer};

use crate::fault::{after, join, written};
use crate::{FAULTS_MAX, FILE_BYTES_MAX, Fault, Refused, Validate};

/// The configuration in a text; `name` is what its faults call it.
///
/// # Errors
/// All its faults.
pub fn parse<T: DeserializeOwned + Validate>(name: &str, text: &str) -> Result<T, Refused> {
    if text.len() > FILE_BYTES_MAX {
        return Err(Refused::whole(name, too_large()));
    }
    let document = DeTable::parse(text).map_err(|error| {
        let line = error.span().and_then(|span| line(text, span.start));
        // Where the text is none, what else would be wrong with it is a guess.
        let fault = Fault { line, path: String::new(), says: error.message().to_owned() };
        Refused { file: name.to_owned(), faults: vec![fault], more: false }
    })?;
    let mut rest = document.clone();
    let (value, mut faults) = take::<T>(text, &document, &mut rest);
    if let Some(value) = &value {
        validate(value, text, &document, &rest, &mut faults);
    }
    faults.sort_by_key(|fault| fault.line);
    let more = faults.len() > FAULTS_MAX;
    faults.truncate(FAULTS_MAX);
    match value {
        Some(value) if faults.is_empty() => Ok(value),
        _ => Err(Refused { file: name.to_owned(), faults, more }),
    }
}

pub(crate) fn too_large() -> String {
    format!("it is over the limit of {FILE_BYTES_MAX} bytes")
}

/// What can be taken of a document, of which the `rest` stays, and what cannot. No value where the faults are too many, or
/// one cannot be left out.
fn take<'i, T: DeserializeOwned>(
    text: &str,
    document: &Spanned<DeTable<'i>>,
    rest: &mut Spanned<DeTable<'i>>,
) -> (Option<T>, Vec<Fault>) {
    let mut faults = Vec::new();
    while faults.len() <= FAULTS_MAX {
        let error = match serde_path_to_error::deserialize(Deserializer::from(rest.clone())) {
            Ok(value) => return (Some(value), faults),
            Err(error) => error,
        };
        let place = Place::find(error.path().iter(), rest.get_ref(), document.get_ref());
        let line = place.offset.and_then(|offset| line(text, offset));
        let says = error.inner().message().to_owned();
        faults.push(Fault { line, path: place.path, says });
        if !remove(rest.get_mut(), &place.steps) {
            break;
        }
    }
    (None, faults)
}

/// Adds what the value itself says that is wrong with it, unless that may be so only because something was left out.
fn validate<'i>(
    value: &impl Validate,
    text: &str,
    document: &Spanned<DeTable<'i>>,
    rest: &Spanned<DeTable<'i>>,
    faults: &mut Vec<Fault>,
) {
    let mut more = Vec::new();
    value.faults(&mut more);
    for fault in &mut more {
        // The value knows of nothing that was left out before it.
        let place = Place::named(&fault.path, rest.get_ref(), document.get_ref());
        fault.line = fault.line.or_else(|| line(text, place.offset?));
        fault.path = place.path;
    }
    let left_out: Vec<String> = faults.iter().map(|fault| fault.path.clone()).collect();
    let follows = |fault: &Fault| {
        left_out.iter().any(|path| after(path, &fault.path).is_some() || after(&fault.path, path).is_some())
    };
    more.retain(|fault| !follows(fault));
    faults.append(&mut more);
}

/// Counted from 1.
fn line(text: &str, offset: usize) -> Option<u32> {
    let before = text.as_bytes().get(..offset)?;
    u32::try_from(before.iter().filter(|byte| **byte == b'\n').count()).ok()?.checked_add(1)
}

/// One step down in a document.
enum Step {
    Key(String),
    Index(usize),
}

/// Where in a document something is: as deep as a path leads.
struct Place {
    /// In the document as it is by now.
    steps: Vec<Step>,
    /// As it is said, and as it was in the file: elements that were left out count.
    path: String,
    /// In the text.
    offset: Option<usize>,
}

impl Place {
    /// By serde's path.
    fn find<'a>(segments: impl Iterator<Item = &'a Segment>, rest: &DeTable<'_>, whole: &DeTable<'_>) -> Self {
        let mut place = Self { steps: Vec::new(), path: String::new(), offset: None };
        let (mut rest, mut whole) = (Node::Table(rest), Node::Table(whole));
        for segment in segments {
            let step = match (segment, rest, whole) {
                (Segment::Map { key } | Segment::Enum { variant: key }, Node::Table(rest), Node::Table(whole)) => {
                    place.key(key, rest, whole)
                }
                (Segment::Seq { index }, Node::Array(rest), Node::Array(whole)) => place.index(*index, rest, whole),
                _ => None,
            };
            let Some(step) = step else { break };
            (rest, whole) = step;
        }
        place
    }

    /// By a path as it is said; what it says of beyond the document stays at the end.
    fn named(path: &str, rest: &DeTable<'_>, whole: &DeTable<'_>) -> Self {
        let mut place = Self { steps: Vec::new(), path: String::new(), offset: None };
        let (mut rest, mut whole, mut path) = (Node::Table(rest), Node::Table(whole), path);
        loop {
            let step = match (rest, whole) {
                (Node::Table(rest), Node::Table(whole)) => place.next_key(path, rest, whole),
                (Node::Array(rest), Node::Array(whole)) => place.next_index(path, rest, whole),
                _ => None,
            };
            let Some((step, further)) = step else { break };
            ((rest, whole), path) = (step, further);
        }
        place.path = join(&place.path, path);
        place
    }

    fn next_key<'n, 'i, 'p>(
        &mut self,
        path: &'p str,
        rest: &'n DeTable<'i>,
        whole: &'n DeTable<'i>,
    ) -> Option<(Both<'n, 'i>, &'p str)> {
        // At most one: a key with a dot stands in quotes.
        let (key, further) = rest.keys().find_map(|key| Some((key, after(path, &written(key.get_ref()))?)))?;
        Some((self.key(key.get_ref(), rest, whole)?, further.strip_prefix('.').unwrap_or(further)))
    }

    fn next_index<'n, 'i, 'p>(
        &mut self,
        path: &'p str,
        rest: &'n DeArray<'i>,
        whole: &'n DeArray<'i>,
    ) -> Option<(Both<'n, 'i>, &'p str)> {
        let (index, further) = path.strip_prefix('[')?.split_once(']')?;
        let step = self.index(index.parse().ok()?, rest, whole)?;
        Some((step, further.strip_prefix('.').unwrap_or(further)))
    }

    fn key<'n, 'i>(&mut self, key: &str, rest: &'n DeTable<'i>, whole: &'n DeTable<'i>) -> Option<Both<'n, 'i>> {
        let (written_key, rest) = rest.get_key_value(key)?;
        self.offset = Some(written_key.span().start);
        self.path = join(&self.path, &written(key));
        self.steps.push(Step::Key(key.to_owned()));
        Some((Node::of(rest), Node::of(whole.get(key)?)))
    }

    fn index<'n, 'i>(&mut self, index: usize, rest: &'n DeArray<'i>, whole: &'n DeArray<'i>) -> Option<Both<'n, 'i>> {
        let element = rest.get(index)?;
        let (number, original) = whole.iter().enumerate().find(|(_, other)| other.span() == element.span())?;
        self.offset = Some(element.span().start);
        self.path = format!("{}[{number}]", self.path);
        self.steps.push(Step::Index(index));
        Some((Node::of(element), Node::of(original)))
    }
}

/// A node of what is left, and the same in the whole.
type Both<'n, 'i> = (Node<'n, 'i>, Node<'n, 'i>);

#[derive(Clone, Copy)]
enum Node<'n, 'i> {
    Table(&'n DeTable<'i>),
    Array(&'n DeArray<'i>),
    Value,
}

impl<'n, 'i> Node<'n, 'i> {
    fn of(value: &'n Spanned<DeValue<'i>>) -> Self {
        match value.get_ref() {
            DeValue::Table(table) => Self::Table(table),
            DeValue::Array(array) => Self::Array(array),
            _ => Self::Value,
        }
    }
}

/// Takes out what stands at the end of these steps. Whether there was anything.
fn remove(table: &mut DeTable<'_>, steps: &[Step]) -> bool {
    let Some((Step::Key(key), further)) = steps.split_first() else { return false };
    if further.is_empty() {
        return table.remove(key.as_str()).is_some();
    }
    table.get_mut(key.as_str()).is_some_and(|value| remove_in(value.get_mut(), further))
}

fn remove_in(value: &mut DeValue<'_>, steps: &[Step]) -> bool {
    match (value, steps) {
        (DeValue::Table(table), _) => remove(table, steps),
        (DeValue::Array(array), [Step::Index(index), further @ ..]) if !further.is_empty() => {
            array.get_mut(*index).is_some_and(|value| remove_in(value.get_mut(), further))
        }
        (DeValue::Array(array), [Step::Index(index)]) => {
            let before = array.len();
            let elements = std::mem::replace(array, DeArray::new()).into_iter().enumerate();
            elements.filter(|(number, _)| number != index).for_each(|(_, value)| array.push(value));
            array.len() < before
        }
        _ => false,
    }
}
