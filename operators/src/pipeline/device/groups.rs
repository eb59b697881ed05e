//! A segment that ends in an aggregation: rows meet in a table on the device, and its groups go on as states.
//!
//! ```text
//!   slots   0 3 0 0 1 2 …       by hash: 0, or a group's number and one more
//!   keys    [nulls, key, key]   by group, in words, in the order in which groups came
//!   states  [count, sum, …]     by group, in words; all of them begin as 0
//! ```
//!
//! A place is taken by one thread, which writes the keys before others see the number. Without keys there is no table: each thread has
//! states of its own, and those of a warp are folded before they go to memory. Sums are exact ([`add_wide`](functions.h)); those of floats
//! are in any order.

use arrow::datatypes::DataType;
use bireme_engine::morsel::carried_type;

use super::arithmetic::within;
use super::body::{Built, Key, hash};
use super::code::{Form, Item, Shapes, Value, Writer, Written, both_valid};
use super::kernel::{Kernel, Parts};
use super::plan::Segment;
use crate::aggregate::{Fold, GroupsWanted, StateWanted};

/// Sums of values within this are of two words, whatever the rows of a batch are.
const NARROW: i128 = 1 << 90;

/// The kernel of a segment with groups, and how its words are laid out.
pub(super) struct GroupKernel {
    pub kernel: Kernel,
    /// Words of a group's keys; none if there are no keys. The first one has a bit for each key that is NULL.
    pub key_words: usize,
    pub keys: Vec<KeyOut>,
    pub state_words: usize,
    pub states: Vec<StateOut>,
    /// Where the parameter says how many slots there are, less one, and how many groups have room.
    pub mask_word: usize,
    pub room_word: usize,
}

/// Where a key is among the words of its group.
pub(super) struct KeyOut {
    pub word: usize,
    pub form: Form,
    pub logical: DataType,
}

/// Where a state is among the words of its group. A state that may be NULL has a word behind it that says how many rows it has seen.
pub(super) struct StateOut {
    pub word: usize,
    pub fold: Fold,
    /// Words of a sum, or of an extreme: three are a lock and a value of two.
    pub limbs: usize,
    /// What an extreme is of.
    pub form: Form,
    pub logical: Option<DataType>,
}

impl GroupKernel {
    pub fn of(segment: &Segment, wanted: &GroupsWanted, shapes: Option<&Shapes>, built: &[Built]) -> Written<Self> {
        let mut writer = Writer::new(shapes);
        writer.word(0);
        let (mask_word, room_word) = (writer.word(0), writer.word(0));
        let items = super::body::steps(&mut writer, &segment.steps, &segment.joined, built, segment.items())?;
        let items = items.ok_or("groups of no rows")?;
        let item = |writer: &mut Writer<'_>, (place, logical): &(usize, DataType)| {
            writer.item(items.get(*place).ok_or("a column that is not there")?, Some(logical))
        };
        if let Some(filter) = wanted.filter {
            let truth = item(&mut writer, &(filter, DataType::Boolean))?.truth();
            writer.line(format!("if (!{truth}) continue;"));
        }
        let mut keys = Vec::new();
        for key in &wanted.keys {
            keys.push((Key::of(&item(&mut writer, key)?, &key.1), key.1.clone()));
        }
        let (first, last) = (keys.len() - wanted.values, keys.len());
        for (value, _) in &mut keys[first..last] {
            if let Some(valid) = value.valid.take() {
                writer.line(format!("if (!{valid}) continue;"));
            }
        }
        let (key_outs, key_words) = find(&mut writer, &keys, mask_word, room_word)?;
        let mut states = States { outs: Vec::new(), words: 0, before: String::new(), behind: String::new() };
        for state in &wanted.states {
            states.add(&mut writer, state, &items, keys.is_empty())?;
        }
        writer.close_all();
        let (text, state_words) = (std::mem::take(&mut writer.text), states.words);
        let text = text.replace("STATES", &state_words.to_string()).replace("KEYS", &key_words.to_string());
        let mut parts = Parts::of(segment.steps.len());
        let writes = ["u32 *slots", "u32 *groups", "u64 *keys", "u64 *states"];
        let row = format!("    do {{\n{text}    }} while (false);\n");
        parts.kernel_around(&writer, "group", &writes, &states.before, &row, &states.behind);
        let (kernel, states) = (parts.finish(writer), states.outs);
        Ok(Self { kernel, key_words, keys: key_outs, state_words, states, mask_word, room_word })
    }
}

/// Finds the group of a row, or makes it.
fn find(
    writer: &mut Writer<'_>,
    keys: &[(Key, DataType)],
    mask_word: usize,
    room_word: usize,
) -> Written<(Vec<KeyOut>, usize)> {
    if keys.is_empty() {
        return Ok((Vec::new(), 0));
    }
    if keys.len() > 64 {
        return Err("more than 64 keys".into());
    }
    // NULLs first, then the words of each key; what is behind a NULL is 0, so that equal keys are equal words.
    let (mut words, mut outs) = (Vec::new(), Vec::new());
    let nulls = keys.iter().enumerate().filter_map(|(number, (key, _))| Some((number, key.valid.clone()?)));
    let nulls = nulls.map(|(number, valid)| format!("(u64)!{valid} << {number}")).collect::<Vec<_>>();
    words.push(if nulls.is_empty() { "0".to_owned() } else { nulls.join(" | ") });
    let mut tests = vec!["there[0] == nulls".to_owned()];
    for (key, logical) in keys {
        outs.push(KeyOut { word: words.len(), form: key.form, logical: logical.clone() });
        let guarded = |code: String| match &key.valid {
            Some(valid) => format!("{valid} ? {code} : 0"),
            None => code,
        };
        let at = words.len();
        let code = &key.code;
        match key.form {
            Form::Text => {
                words.push(guarded(format!("(u64){code}.at")));
                words.push(guarded(format!("(u64){code}.length")));
                let same = format!("equal(text_at(there[{at}], there[{}]), {code})", at + 1);
                tests.push(key.valid.as_ref().map_or(same.clone(), |valid| format!("(!{valid} || {same})")));
            }
            Form::Wide => {
                words.push(guarded(format!("(u64)({code})")));
                words.push(guarded(format!("(u64)((u128)({code}) >> 64)")));
                tests.push(format!("there[{at}] == mine{at} && there[{0}] == mine{0}", at + 1));
            }
            _ => {
                words.push(guarded(format!("(u64)({code})")));
                tests.push(format!("there[{at}] == mine{at}"));
            }
        }
    }
    let plain = keys.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>();
    let hash = hash(writer, &plain);
    writer.line(format!("u64 nulls = {};", words[0]));
    for (at, word) in words.iter().enumerate().skip(1) {
        writer.line(format!("u64 mine{at} = {word};"));
    }
    writer.line("u32 g = NONE;");
    writer.line(format!("for (u64 slot = {hash} & p[{mask_word}]; !(*(volatile u32 *)status & FULL);) {{"));
    writer.line("  u32 known = *(volatile u32 *)(slots + slot);");
    writer.line("  if (known == 0) known = atomicCAS(slots + slot, 0u, NONE);");
    writer.line("  if (known == NONE) continue;");
    writer.line("  if (known == 0) {");
    writer.line("    u32 fresh = atomicAdd(groups, 1u);");
    writer.line(format!("    if (fresh >= p[{room_word}]) {{"));
    writer.line("      atomicOr(status, FULL);");
    writer.line("      atomicExch(slots + slot, 0u);");
    writer.line("      break;");
    writer.line("    }");
    writer.line("    volatile u64 *there = keys + (u64)fresh * KEYS;");
    writer.line("    there[0] = nulls;");
    for at in 1..words.len() {
        writer.line(format!("    there[{at}] = mine{at};"));
    }
    writer.line("    __threadfence();");
    writer.line("    atomicExch(slots + slot, fresh + 1);");
    writer.line("    g = fresh;");
    writer.line("    break;");
    writer.line("  }");
    writer.line("  __threadfence();");
    writer.line("  volatile u64 *there = keys + (u64)(known - 1) * KEYS;");
    writer.line(format!("  if ({}) {{", tests.join(" && ")));
    writer.line("    g = known - 1;");
    writer.line("    break;");
    writer.line("  }");
    writer.line(format!("  slot = (slot + 1) & p[{mask_word}];"));
    writer.line("}");
    writer.line("if (g == NONE) continue;");
    Ok((outs, words.len()))
}

/// States as they are written.
struct States {
    outs: Vec<StateOut>,
    words: usize,
    /// Of a thread, where there are no keys.
    before: String,
    behind: String,
}

impl States {
    fn add(&mut self, writer: &mut Writer<'_>, state: &StateWanted, items: &[Item], alone: bool) -> Written<()> {
        let mut values = Vec::new();
        for (place, logical) in &state.arguments {
            let item = items.get(*place).ok_or("a column that is not there")?;
            // A count looks at NULLs alone, and there may be none.
            if state.fold == Fold::Count
                && let Item::Stored(origin, place) = *item
                && writer.lone(origin).is_none()
                && writer.stored(origin, place, Some(logical)).is_some_and(|stored| !stored.nullable)
            {
                continue;
            }
            values.push(writer.item(item, Some(logical))?);
        }
        let mut counts =
            values.iter().skip(1).fold(values.first().and_then(|value| value.valid.clone()), |valid, value| {
                both_valid(&Value::new(Form::Bool, "").with_valid(valid), value)
            });
        if let Some(filter) = state.filter {
            let item = items.get(filter).ok_or("a column that is not there")?;
            let truth = writer.item(item, Some(&DataType::Boolean))?.truth();
            counts = Some(counts.map_or(truth.clone(), |valid| format!("({valid} && {truth})")));
        }
        let number = self.outs.len();
        let form = values.first().map_or(Form::Int(64, true), |value| value.form);
        let logical = state.arguments.first().map(|(_, logical)| logical.clone());
        let mut out = StateOut { word: self.words, fold: state.fold, limbs: 1, form, logical };
        let value = || values.first().ok_or_else(|| "an aggregate without its argument".to_owned());
        let lines = match state.fold {
            Fold::Count => self.count(number, out.word, alone),
            Fold::Exact => {
                let value = value()?;
                if !value.form.is_integral() {
                    return Err(format!("a sum of {}", value.form.name()));
                }
                let narrow =
                    value.form != Form::Wide || value.range.is_some_and(|(low, high)| low > -NARROW && high < NARROW);
                out.limbs = if narrow { 2 } else { 3 };
                self.exact(number, &out, value, alone)
            }
            Fold::Float => self.float(number, out.word, value()?, alone)?,
            Fold::Extreme { largest } => {
                let value = value()?;
                let narrow = value.form != Form::Wide || within(value.range, Form::Int(64, true));
                if value.form == Form::Text || !narrow {
                    // A lock, then the value in two words.
                    out.limbs = 3;
                    locked(out.word, value, largest, alone)
                } else {
                    self.extreme(number, out.word, value, largest, alone)?
                }
            }
        };
        if let Some(counts) = &counts {
            writer.open(format!("if ({counts}) {{"), "}");
        }
        lines.iter().for_each(|line| writer.line(line));
        if counts.is_some() {
            writer.close();
        }
        self.words += out.limbs + usize::from(state.fold != Fold::Count);
        self.outs.push(out);
        Ok(())
    }

    /// A word of a group.
    fn place(word: usize, alone: bool) -> String {
        if alone { format!("states + {word}") } else { format!("states + (u64)g * STATES + {word}") }
    }

    fn count(&mut self, number: usize, word: usize, alone: bool) -> Vec<String> {
        if alone {
            self.before.push_str(&format!("  u64 count{number} = 0;\n"));
            self.behind.push_str(&format!("  fold_count(states + {word}, count{number});\n"));
            return vec![format!("++count{number};")];
        }
        vec![format!("atomicAdd({}, (u64)1);", Self::place(word, false))]
    }

    /// The word that says that a state has seen something.
    fn seen(&mut self, number: usize, word: usize, alone: bool) -> String {
        if alone {
            self.before.push_str(&format!("  u64 any{number} = 0;\n"));
            self.behind.push_str(&format!("  fold_count(states + {word}, any{number});\n"));
            return format!("any{number} = 1;");
        }
        // Whoever writes it writes the same.
        format!("*(volatile u64 *)({}) = 1;", Self::place(word, false))
    }

    fn exact(&mut self, number: usize, out: &StateOut, value: &Value, alone: bool) -> Vec<String> {
        let (word, code) = (out.word, format!("(i128){}", value.code));
        let seen = self.seen(number, word + out.limbs, alone);
        let add = match (out.limbs, alone) {
            (3, _) => format!("add_wider({}, {code});", Self::place(word, alone)),
            (_, false) => format!("add_wide({}, {code});", Self::place(word, false)),
            (_, true) => {
                self.before.push_str(&format!("  i128 sum{number} = 0;\n"));
                self.behind.push_str(&format!("  fold_sum(states + {word}, sum{number});\n"));
                format!("sum{number} += {code};")
            }
        };
        vec![add, seen]
    }

    fn float(&mut self, number: usize, word: usize, value: &Value, alone: bool) -> Written<Vec<String>> {
        if !matches!(value.form, Form::Float(_)) {
            return Err(format!("a sum of {}", value.form.name()));
        }
        let seen = self.seen(number, word + 1, alone);
        let code = format!("(f64){}", value.code);
        if alone {
            self.before.push_str(&format!("  f64 sum{number} = 0;\n"));
            self.behind.push_str(&format!("  fold_float((f64 *)(states + {word}), sum{number});\n"));
            return Ok(vec![format!("sum{number} += {code};"), seen]);
        }
        Ok(vec![format!("atomicAdd((f64 *)({}), {code});", Self::place(word, false)), seen])
    }

    fn extreme(
        &mut self,
        number: usize,
        word: usize,
        value: &Value,
        largest: bool,
        alone: bool,
    ) -> Written<Vec<String>> {
        let bits = match value.form {
            Form::Bool | Form::Int(_, false) => format!("(u64){}", value.code),
            Form::Float(_) => format!("(u64)(i64)ordered({}) ^ (u64)1 << 63", value.code),
            Form::Int(..) => format!("(u64)(i64){} ^ (u64)1 << 63", value.code),
            Form::Wide => format!("(u64)(i64){} ^ (u64)1 << 63", value.code),
            form => return Err(format!("extremes of {}", form.name())),
        };
        // The largest of all words is wanted in any case, and 0 is the least.
        let bits = if largest { bits } else { format!("~({bits})") };
        let seen = self.seen(number, word + 1, alone);
        if alone {
            self.before.push_str(&format!("  u64 most{number} = 0;\n"));
            self.behind.push_str(&format!("  fold_most(states + {word}, most{number});\n"));
            return Ok(vec![format!("most{number} = max(most{number}, (u64)({bits}));"), seen]);
        }
        Ok(vec![format!("atomicMax({}, (u64)({bits}));", Self::place(word, false)), seen])
    }
}

/// An extreme of values that no atomic operation is wide enough for: one thread at a time compares. Others go round until it has; threads
/// of a warp go on by themselves, so that whoever holds the lock gives it back.
fn locked(word: usize, value: &Value, largest: bool, alone: bool) -> Vec<String> {
    let (code, sign) = (&value.code, if largest { "<" } else { ">" });
    let (better, first, second) = match value.form {
        Form::Text => (
            format!("compare(text_at(s[1], s[2]), {code}) {sign} 0"),
            format!("(u64){code}.at"),
            format!("(u64){code}.length"),
        ),
        _ => (
            format!("(i128)((u128)s[2] << 64 | s[1]) {sign} {code}"),
            format!("(u64){code}"),
            format!("(u64)((u128){code} >> 64)"),
        ),
    };
    let place = States::place(word, alone);
    [
        "for (bool done = false; !done;) {",
        &format!("  volatile u64 *s = {place};"),
        "  if (atomicCAS((u64 *)s, (u64)0, (u64)1) != 0) continue;",
        "  __threadfence();",
        &format!("  if (s[3] == 0 || {better}) {{"),
        &format!("    s[1] = {first};"),
        &format!("    s[2] = {second};"),
        "  }",
        "  s[3] = 1;",
        "  __threadfence();",
        "  atomicExch((u64 *)s, (u64)0);",
        "  done = true;",
        "}",
    ]
    .map(str::to_owned)
    .to_vec()
}

impl StateOut {
    /// The carried type of the values of an extreme.
    pub fn carried(&self) -> DataType {
        self.logical.as_ref().map_or(DataType::Int64, carried_type)
    }
}
