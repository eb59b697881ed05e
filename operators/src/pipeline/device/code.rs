//! Writing kernels: values, the columns they come from, and statements, each of which names one value.
//!
//! ```text
//!   c0 is null or c0 < 24           bool c0n = bit_of(c0v, row);  i64 c0x = c0[row];
//!                              ──►  bool v1 = !c0n;
//!                                   bool v2 = c0x < (i64)p[3];   bool n2 = c0n;
//!                                   …
//! ```
//!
//! Nothing branches but filters and probes: what must not be evaluated on a row is evaluated nevertheless, and does not fail there.
//! Numbers, texts and lists of a program are words of a parameter `p`, so that programs which differ in these alone are one kernel.

use std::collections::HashMap;
use std::fmt::Write as _;

use arrow::datatypes::DataType;
use bireme_engine::morsel::carried_type;

/// The result of writing something: or why it has no kernel.
pub(super) type Written<T> = Result<T, String>;

/// What a value is on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Form {
    Bool,
    /// Bits, and whether it has a sign.
    Int(u8, bool),
    Float(u8),
    /// 128 bits with a sign.
    Wide,
    Text,
}

/// What a column is on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Stored {
    /// Nothing is known of it but which rows are wanted.
    pub form: Option<Form>,
    pub nullable: bool,
    /// What its values lie between, those behind NULLs aside.
    pub range: Option<Range>,
}

/// Both ends belong to it.
pub(super) type Range = (i128, i128);

/// Whose column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Origin {
    /// The rows at hand.
    Rows,
    /// The build side of the segment's join of this number.
    Table(usize),
}

/// Memory that a kernel reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Memory {
    Values(Origin, usize),
    Valid(Origin, usize),
    Heap(Origin, usize),
    Heads(usize),
    Next(usize),
    /// Of a build side: which rows have a partner.
    Marks(usize),
}

/// A value of the row at hand.
#[derive(Clone, Debug)]
pub(super) struct Value {
    pub form: Form,
    /// Its name, or what makes it.
    pub code: String,
    /// Whether it is not NULL; if nothing is said it never is.
    pub valid: Option<String>,
    pub range: Option<Range>,
}

/// A column of the rows at hand.
#[derive(Clone, Debug)]
pub(super) enum Item {
    /// As it is stored.
    Stored(Origin, usize),
    /// Of a logical type.
    Computed(Value, DataType),
}

/// What is known of stored columns; before there are rows only their types are.
pub(super) type Shapes = HashMap<(Origin, usize), Stored>;

/// The text of a kernel as it is written.
pub(super) struct Writer<'a> {
    shapes: Option<&'a Shapes>,
    pub words: Vec<u64>,
    pub text: String,
    /// Memory that is read, in the order of parameters, each with its name and type.
    pub memory: Vec<(Memory, String)>,
    names: usize,
    indent: usize,
    /// Build sides whose row at hand may be none.
    outer: Vec<usize>,
    /// Columns that are loaded, by the scope in which they are.
    loaded: Vec<HashMap<(Origin, usize), Value>>,
    /// Closes the scopes.
    closing: Vec<String>,
}

impl Form {
    /// That of the carried form of a logical type.
    pub fn of(logical: &DataType) -> Option<Self> {
        Self::of_carried(&carried_type(logical))
    }

    /// That of arrays.
    pub fn of_carried(carried: &DataType) -> Option<Self> {
        Some(match carried {
            DataType::Boolean => Form::Bool,
            DataType::Int8 => Form::Int(8, true),
            DataType::Int16 => Form::Int(16, true),
            DataType::Int32 | DataType::Date32 | DataType::Time32(_) => Form::Int(32, true),
            DataType::Int64
            | DataType::Date64
            | DataType::Time64(_)
            | DataType::Timestamp(..)
            | DataType::Duration(_) => Form::Int(64, true),
            DataType::UInt8 => Form::Int(8, false),
            DataType::UInt16 => Form::Int(16, false),
            DataType::UInt32 => Form::Int(32, false),
            DataType::UInt64 => Form::Int(64, false),
            DataType::Float32 => Form::Float(32),
            DataType::Float64 => Form::Float(64),
            DataType::Decimal128(..) => Form::Wide,
            DataType::Utf8View | DataType::BinaryView => Form::Text,
            DataType::Dictionary(_, values) => Self::of_carried(values).filter(|form| *form == Form::Text)?,
            _ => return None,
        })
    }

    /// As kernels call it.
    pub fn name(self) -> &'static str {
        match self {
            Form::Bool => "bool",
            Form::Int(8, true) => "i8",
            Form::Int(16, true) => "i16",
            Form::Int(32, true) => "i32",
            Form::Int(8, false) => "u8",
            Form::Int(16, false) => "u16",
            Form::Int(32, false) => "u32",
            Form::Int(_, false) => "u64",
            Form::Int(_, true) => "i64",
            Form::Float(32) => "f32",
            Form::Float(_) => "f64",
            Form::Wide => "i128",
            Form::Text => "text",
        }
    }

    /// As kernels call it where it lies in memory: truth values are bits of words, texts places and lengths.
    pub fn memory_name(self) -> &'static str {
        match self {
            Form::Bool => "u32",
            Form::Text => "u64",
            other => other.name(),
        }
    }

    /// Bytes of a value in memory that is written.
    pub fn bytes(self) -> usize {
        match self {
            Form::Bool => 1,
            Form::Int(bits, _) | Form::Float(bits) => usize::from(bits) / 8,
            Form::Wide | Form::Text => 16,
        }
    }

    pub fn is_integral(self) -> bool {
        matches!(self, Form::Int(..) | Form::Wide)
    }

    /// What integers of this form lie between.
    pub fn range(self) -> Option<Range> {
        match self {
            Form::Int(bits, true) => Some((-(1_i128 << (bits - 1)), (1_i128 << (bits - 1)) - 1)),
            Form::Int(bits, false) => Some((0, (1_i128 << bits) - 1)),
            _ => None,
        }
    }
}

impl Value {
    pub fn new(form: Form, code: impl Into<String>) -> Self {
        Self { form, code: code.into(), valid: None, range: None }
    }

    pub fn with_valid(self, valid: Option<String>) -> Self {
        Self { valid, ..self }
    }

    pub fn with_range(self, range: Option<Range>) -> Self {
        Self { range, ..self }
    }

    /// What it lies between, by what is known of it or by its form.
    pub fn bounds(&self) -> Option<Range> {
        self.range.or_else(|| self.form.range())
    }

    /// Whether it is not NULL, as an expression.
    pub fn validity(&self) -> &str {
        self.valid.as_deref().unwrap_or("true")
    }

    /// Whether it is true: neither false nor NULL.
    pub fn truth(&self) -> String {
        match &self.valid {
            Some(valid) => format!("({valid} && {})", self.code),
            None => self.code.clone(),
        }
    }
}

/// Whether both are valid, as an expression.
pub(super) fn both_valid(a: &Value, b: &Value) -> Option<String> {
    match (&a.valid, &b.valid) {
        (Some(a), Some(b)) if a == b => Some(a.clone()),
        (Some(a), Some(b)) => Some(format!("({a} && {b})")),
        (Some(one), None) | (None, Some(one)) => Some(one.clone()),
        (None, None) => None,
    }
}

impl<'a> Writer<'a> {
    /// A kernel over columns of these shapes; without them, one that is only looked at.
    pub fn new(shapes: Option<&'a Shapes>) -> Self {
        Self {
            shapes,
            words: Vec::new(),
            text: String::new(),
            memory: Vec::new(),
            names: 0,
            indent: 2,
            outer: Vec::new(),
            loaded: vec![HashMap::new()],
            closing: Vec::new(),
        }
    }

    pub fn line(&mut self, line: impl AsRef<str>) {
        let indent = self.indent;
        let _ = writeln!(self.text, "{:indent$}{}", "", line.as_ref());
    }

    /// A name that no other value has.
    pub fn name(&mut self) -> usize {
        self.names += 1;
        self.names
    }

    /// Begins a scope: a line that opens a brace, and what closes it.
    pub fn open(&mut self, line: impl AsRef<str>, closing: impl Into<String>) {
        self.line(line);
        self.indent += 2;
        self.loaded.push(HashMap::new());
        self.closing.push(closing.into());
    }

    /// Ends the innermost scope.
    pub fn close(&mut self) {
        self.indent -= 2;
        self.loaded.pop();
        if let Some(closing) = self.closing.pop() {
            self.line(closing);
        }
    }

    /// Ends all scopes.
    pub fn close_all(&mut self) {
        while !self.closing.is_empty() {
            self.close();
        }
    }

    /// A place in the parameter.
    pub fn word(&mut self, value: u64) -> usize {
        self.words.push(value);
        self.words.len() - 1
    }

    /// Bytes in the parameter, from a place on.
    pub fn bytes(&mut self, bytes: &[u8]) -> usize {
        let first = self.words.len();
        self.words.extend(bytes.chunks(8).map(|chunk| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            u64::from_le_bytes(word)
        }));
        first
    }

    /// Names a value: what it is made of is computed once.
    pub fn let_value(&mut self, value: Value) -> Value {
        let name = self.name();
        self.line(format!("{} v{name} = {};", value.form.name(), value.code));
        let valid = value.valid.map(|valid| self.let_valid(valid, name));
        Value { code: format!("v{name}"), valid, ..value }
    }

    fn let_valid(&mut self, valid: String, name: usize) -> String {
        if valid.chars().all(|letter| letter.is_ascii_alphanumeric()) {
            return valid;
        }
        self.line(format!("bool n{name} = {valid};"));
        format!("n{name}")
    }

    /// Makes the kernel's answer void where this is true: the host computes these rows.
    pub fn fail_if(&mut self, condition: &str) {
        self.line(format!("failed |= {condition};"));
    }

    /// The name of memory that the kernel reads.
    pub fn read(&mut self, memory: Memory, data_type: &str) -> String {
        let name = memory.name();
        if !self.memory.iter().any(|(known, _)| *known == memory) {
            self.memory.push((memory, format!("{data_type} *{name}")));
        }
        name
    }

    /// What a stored column is.
    pub fn stored(&self, origin: Origin, place: usize, logical: Option<&DataType>) -> Option<Stored> {
        match self.shapes {
            Some(shapes) => shapes.get(&(origin, place)).copied(),
            None => Some(Stored { form: logical.and_then(Form::of), nullable: true, range: None }),
        }
    }

    /// A value of a stored column, of the row that the column's origin is at.
    pub fn column(&mut self, origin: Origin, place: usize, logical: Option<&DataType>) -> Written<Value> {
        if let Some(value) = self.loaded.iter().rev().find_map(|scope| scope.get(&(origin, place))) {
            return Ok(value.clone());
        }
        let stored = self.stored(origin, place, logical).ok_or("a column that is not there")?;
        let form = stored.form.ok_or_else(|| match logical {
            Some(logical) => format!("values of type {logical}"),
            None => "values of a type without kernels".to_owned(),
        })?;
        let row = match origin {
            Origin::Rows => "row".to_owned(),
            Origin::Table(number) => format!("b{number}"),
        };
        let values = self.read(Memory::Values(origin, place), &format!("const {}", form.memory_name()));
        // A row of a build side may be none.
        let lone = self.lone(origin);
        let guarded = |code: String, none: &str| match &lone {
            Some(lone) => format!("{lone} ? {none} : {code}"),
            None => code,
        };
        let code = match form {
            Form::Bool => guarded(format!("bit_of({values}, {row})"), "false"),
            Form::Text => {
                let heap = self.read(Memory::Heap(origin, place), "const u8");
                guarded(format!("text_of({heap}, {values}[{row}])"), "text{0, 0}")
            }
            _ => guarded(format!("{values}[{row}]"), "0"),
        };
        let valid = stored.nullable.then(|| self.read(Memory::Valid(origin, place), "const u32"));
        let valid = match (valid, &lone) {
            (Some(valid), Some(lone)) => Some(format!("!{lone} && bit_of({valid}, {row})")),
            (Some(valid), None) => Some(format!("bit_of({valid}, {row})")),
            (None, Some(lone)) => Some(format!("!{lone}")),
            (None, None) => None,
        };
        let value = self.let_value(Value { form, code, valid, range: stored.range });
        if let Some(scope) = self.loaded.last_mut() {
            scope.insert((origin, place), value.clone());
        }
        Ok(value)
    }

    /// From here on a build side's row may be none: `lone` and its number say so.
    pub fn may_be_none(&mut self, table: usize) {
        self.outer.push(table);
    }

    /// The name of what says that a build side's row is none, if it can be.
    pub fn lone(&self, origin: Origin) -> Option<String> {
        match origin {
            Origin::Table(number) if self.outer.contains(&number) => Some(format!("lone{number}")),
            _ => None,
        }
    }

    /// A column of the rows at hand.
    pub fn item(&mut self, item: &Item, logical: Option<&DataType>) -> Written<Value> {
        match item {
            Item::Stored(origin, place) => self.column(*origin, *place, logical),
            Item::Computed(value, _) => Ok(value.clone()),
        }
    }
}

impl Origin {
    fn name(self) -> String {
        match self {
            Origin::Rows => "c".into(),
            Origin::Table(number) => format!("t{number}c"),
        }
    }
}

impl Memory {
    fn name(self) -> String {
        match self {
            Memory::Values(origin, place) => format!("{}{place}", origin.name()),
            Memory::Valid(origin, place) => format!("{}{place}v", origin.name()),
            Memory::Heap(origin, place) => format!("{}{place}h", origin.name()),
            Memory::Heads(table) => format!("t{table}heads"),
            Memory::Next(table) => format!("t{table}next"),
            Memory::Marks(table) => format!("t{table}marks"),
        }
    }
}
