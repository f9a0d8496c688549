//! Small things that are remembered beside events: what was sent and waits for its receipt, what came
//! already, what was told already. A store looks into a note as little as into an event.

use crate::model::{NewDelivery, NewEvent, Settlement};

/// Something remembered under a key. Times are milliseconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// What it is found by.
    pub key: String,
    /// What is remembered.
    pub body: Vec<u8>,
    /// When somebody is to look at it again. `None`: nothing has to happen.
    pub due: Option<i64>,
    /// When it may be forgotten.
    pub expires: i64,
}

/// A note to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteChange {
    /// How it is to be.
    pub note: Note,
    /// What has to be there before.
    pub before: Before,
}

/// What a [`NoteChange`] is written over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Before {
    /// Whatever there is.
    Any,
    /// Nothing, or what may be forgotten already.
    Absent,
    /// This body, due or not.
    Body(Vec<u8>),
}

/// One of several writes that are one commit; see [`crate::Store::apply`].
#[derive(Clone, Debug, PartialEq)]
pub enum Write {
    /// As [`crate::Store::open`].
    Open(NewEvent, Vec<NewDelivery>),
    /// As [`crate::Store::settle`].
    Settle(Settlement),
    /// As [`crate::Store::publish`].
    Publish(NewEvent, Vec<NewDelivery>),
    /// A note. Where something else is there than [`NoteChange::before`] says, nothing is written.
    Note(NoteChange),
    /// A note, and an event only if the note was written: of several that try, one tells.
    Once(NoteChange, NewEvent, Vec<NewDelivery>),
}
