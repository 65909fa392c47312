//! The subset of Python's pickle that NumPy writes for arrays of objects: dictionaries, lists,
//! numbers, texts and arrays.
//!
//! A pickle is a program for a stack machine that may call anything. This reader calls nothing:
//! it knows the handful of names by which NumPy spells an array and refuses every other. Protocols
//! 2 to 5 (<https://docs.python.org/3/library/pickletools.html>).

use super::array::{Array, Dtype};

/// A value of a pickle.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    /// `None`.
    None,
    /// `True`, `False`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// A text, also one that Python 2 wrote as bytes.
    Text(String),
    /// Bytes that are no text.
    Bytes(Vec<u8>),
    /// A list, a tuple, or an array of objects in row-major order.
    List(Vec<Object>),
    /// A dictionary, in its order.
    Map(Vec<(Object, Object)>),
    /// An array of numbers or texts.
    Array(Array),
}

impl Object {
    /// The entry of a dictionary.
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.entries()?.iter().find(|(k, _)| k.text() == Some(key)).map(|(_, v)| v)
    }

    /// A dictionary's entries.
    pub fn entries(&self) -> Option<&[(Self, Self)]> {
        if let Self::Map(entries) = self { Some(entries) } else { None }
    }

    /// A list's items.
    pub fn items(&self) -> Option<&[Self]> {
        if let Self::List(items) = self { Some(items) } else { None }
    }

    /// A text.
    pub fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// A number.
    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Int(i) => Some(*i as f64),
            Self::Float(f) => Some(*f),
            Self::Array(a) if a.len() == 1 => a.numbers().ok()?.first().copied(),
            _ => None,
        }
    }

    /// An array of numbers.
    pub fn array(&self) -> Option<&Array> {
        if let Self::Array(array) = self { Some(array) } else { None }
    }

    /// What it is, for messages.
    pub fn what(&self) -> String {
        match self {
            Self::None => "None".to_owned(),
            Self::Bool(_) => "a truth value".to_owned(),
            Self::Int(_) | Self::Float(_) => "a number".to_owned(),
            Self::Text(_) => "a text".to_owned(),
            Self::Bytes(_) => "bytes".to_owned(),
            Self::List(items) => format!("a list of {}", items.len()),
            Self::Map(entries) => format!("a dictionary of {}", entries.len()),
            Self::Array(a) => format!("an array of shape {:?}", a.shape),
        }
    }
}

/// Why a pickle cannot be read, and where.
#[derive(Debug, thiserror::Error, PartialEq)]
#[error("a pickle that cannot be read (byte {at}): {problem}")]
pub struct PickleError {
    at: usize,
    problem: String,
}

/// Reads a pickle.
///
/// # Errors
/// If it is damaged, or holds anything but plain data and NumPy arrays.
pub fn read(bytes: &[u8]) -> Result<Object, PickleError> {
    let mut machine = Machine {
        bytes,
        at: 0,
        nodes: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: Vec::new(),
    };
    machine
        .run()
        .and_then(|top| machine.object(top, 0, &mut 0))
        .map_err(|problem| PickleError { at: machine.at, problem })
}

/// Where a node lies. Lists and dictionaries are put into the memo before they are filled, so the
/// stack holds places and not values.
type Place = usize;

#[derive(Clone)]
enum Node {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
    Tuple(Vec<Place>),
    List(Vec<Place>),
    Map(Vec<(Place, Place)>),
    Global(Global),
    Dtype(Dtype),
    /// Shape, type, column-major, data (bytes or a list).
    Array(Option<(Vec<usize>, Dtype, bool, Place)>),
}

/// The names that are known.
#[derive(Clone, Copy, PartialEq)]
enum Global {
    /// `numpy.core.multiarray._reconstruct`: an array that BUILD will fill.
    Reconstruct,
    /// `numpy.core.multiarray.scalar`.
    Scalar,
    /// `numpy.core.numeric._frombuffer`.
    FromBuffer,
    /// `numpy.dtype`.
    Dtype,
    /// `numpy.ndarray`: only as an argument.
    Ndarray,
    /// `_codecs.encode`: how protocol 2 writes bytes.
    Encode,
    /// `collections.OrderedDict`.
    OrderedDict,
}

/// Deeper nesting and more values than any data set has: a pickle may refer to itself.
const DEEPEST: usize = 32;
const MOST_OBJECTS: usize = 20_000_000;

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    nodes: Vec<Node>,
    stack: Vec<Place>,
    marks: Vec<usize>,
    memo: Vec<Option<Place>>,
}

type Step<T> = Result<T, String>;

impl<'a> Machine<'a> {
    fn take(&mut self, n: usize) -> Step<&'a [u8]> {
        let end = self.at.checked_add(n);
        let part = end.and_then(|end| self.bytes.get(self.at..end));
        self.at += if part.is_some() { n } else { 0 };
        part.ok_or_else(|| "it ends too early".to_owned())
    }

    /// A little-endian number of `n` bytes.
    fn number(&mut self, n: usize) -> Step<usize> {
        let mut raw = [0; 8];
        raw[..n].copy_from_slice(self.take(n)?);
        usize::try_from(u64::from_le_bytes(raw)).map_err(|e| e.to_string())
    }

    fn line(&mut self) -> Step<&'a str> {
        let rest = &self.bytes[self.at..];
        let end = rest.iter().position(|b| *b == b'\n').ok_or("it ends too early")?;
        self.at += end + 1;
        std::str::from_utf8(&rest[..end]).map_err(|e| e.to_string())
    }

    fn push(&mut self, node: Node) {
        self.nodes.push(node);
        self.stack.push(self.nodes.len() - 1);
    }

    fn pop(&mut self) -> Step<Place> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err("its stack is empty".to_owned());
        }
        self.stack.pop().ok_or_else(|| "its stack is empty".to_owned())
    }

    fn top(&self) -> Step<Place> {
        self.stack.last().copied().ok_or_else(|| "its stack is empty".to_owned())
    }

    fn since_mark(&mut self) -> Step<Vec<Place>> {
        let mark = self.marks.pop().ok_or("a mark is missing")?;
        if mark > self.stack.len() {
            return Err("a mark is misplaced".to_owned());
        }
        Ok(self.stack.split_off(mark))
    }

    fn bytes_of(&mut self, n: usize) -> Step<Vec<u8>> {
        Ok(self.take(n)?.to_vec())
    }

    fn text_of(&mut self, n: usize) -> Step<()> {
        let raw = self.take(n)?;
        let text = std::str::from_utf8(raw).map_err(|e| e.to_string())?.to_owned();
        self.push(Node::Text(text));
        Ok(())
    }

    fn tuple(&mut self, n: usize) -> Step<()> {
        let mut items = Vec::with_capacity(n);
        for _ in 0..n {
            items.push(self.pop()?);
        }
        items.reverse();
        self.push(Node::Tuple(items));
        Ok(())
    }

    fn remember(&mut self, index: usize) -> Step<()> {
        if index > self.bytes.len() {
            return Err("a memo number that is too large".to_owned());
        }
        if self.memo.len() <= index {
            self.memo.resize(index + 1, None);
        }
        self.memo[index] = Some(self.top()?);
        Ok(())
    }

    fn recall(&mut self, index: usize) -> Step<()> {
        let place = self.memo.get(index).copied().flatten().ok_or("an empty memo is read")?;
        self.stack.push(place);
        Ok(())
    }

    fn run(&mut self) -> Step<Place> {
        loop {
            match self.take(1)?[0] {
                0x80 => {
                    let protocol = self.number(1)?;
                    if !(2..=5).contains(&protocol) {
                        return Err(format!("protocol {protocol}; 2 to 5 are known"));
                    }
                }
                // Frames only help readers of streams.
                0x95 => _ = self.number(8)?,
                b'.' => return self.pop(),
                b'(' => self.marks.push(self.stack.len()),
                b'0' => _ = self.pop()?,
                b'1' => _ = self.since_mark()?,
                b'N' => self.push(Node::None),
                0x88 => self.push(Node::Bool(true)),
                0x89 => self.push(Node::Bool(false)),
                b'K' => {
                    let n = self.number(1)?;
                    self.push(Node::Int(n as i64));
                }
                b'M' => {
                    let n = self.number(2)?;
                    self.push(Node::Int(n as i64));
                }
                b'J' => {
                    let n = self.number(4)? as u32;
                    self.push(Node::Int(i64::from(n as i32)));
                }
                0x8a => self.long()?,
                b'G' => {
                    let mut raw = [0; 8];
                    raw.copy_from_slice(self.take(8)?);
                    self.push(Node::Float(f64::from_be_bytes(raw)));
                }
                b'X' => {
                    let n = self.number(4)?;
                    self.text_of(n)?;
                }
                0x8c => {
                    let n = self.number(1)?;
                    self.text_of(n)?;
                }
                0x8d => {
                    let n = self.number(8)?;
                    self.text_of(n)?;
                }
                code @ (b'B' | b'C' | b'T' | b'U' | 0x8e | 0x96) => {
                    let wide = match code {
                        b'C' | b'U' => 1,
                        b'B' | b'T' => 4,
                        _ => 8,
                    };
                    let n = self.number(wide)?;
                    let raw = self.bytes_of(n)?;
                    self.push(Node::Bytes(raw));
                }
                b']' => self.push(Node::List(Vec::new())),
                b'}' => self.push(Node::Map(Vec::new())),
                b')' => self.push(Node::Tuple(Vec::new())),
                0x85 => self.tuple(1)?,
                0x86 => self.tuple(2)?,
                0x87 => self.tuple(3)?,
                b't' => {
                    let items = self.since_mark()?;
                    self.push(Node::Tuple(items));
                }
                b'l' => {
                    let items = self.since_mark()?;
                    self.push(Node::List(items));
                }
                b'd' => {
                    let items = self.since_mark()?;
                    self.push(Node::Map(Vec::new()));
                    self.set(&items)?;
                }
                b'a' => {
                    let item = self.pop()?;
                    self.append(&[item])?;
                }
                b'e' => {
                    let items = self.since_mark()?;
                    self.append(&items)?;
                }
                b's' => {
                    let value = self.pop()?;
                    let key = self.pop()?;
                    self.set(&[key, value])?;
                }
                b'u' => {
                    let items = self.since_mark()?;
                    self.set(&items)?;
                }
                b'q' => {
                    let i = self.number(1)?;
                    self.remember(i)?;
                }
                b'r' => {
                    let i = self.number(4)?;
                    self.remember(i)?;
                }
                0x94 => self.remember(self.memo.len())?,
                b'h' => {
                    let i = self.number(1)?;
                    self.recall(i)?;
                }
                b'j' => {
                    let i = self.number(4)?;
                    self.recall(i)?;
                }
                b'c' => {
                    let (module, name) = (self.line()?, self.line()?);
                    self.global(module, name)?;
                }
                0x93 => {
                    let (name, module) = (self.pop()?, self.pop()?);
                    let (Node::Text(module), Node::Text(name)) =
                        (self.nodes[module].clone(), self.nodes[name].clone())
                    else {
                        return Err("a name that is no text".to_owned());
                    };
                    self.global(&module, &name)?;
                }
                // An object made by __new__ instead of by a call: the same for what is known.
                b'R' | 0x81 => {
                    let (arguments, callee) = (self.pop()?, self.pop()?);
                    self.call(callee, arguments)?;
                }
                b'b' => {
                    let state = self.pop()?;
                    self.build(state)?;
                }
                other => {
                    return Err(format!("operation {other:#04x}, which plain data does not need"));
                }
            }
            if self.nodes.len() > MOST_OBJECTS {
                return Err("it holds too many objects".to_owned());
            }
        }
    }

    fn long(&mut self) -> Step<()> {
        let n = self.number(1)?;
        let raw = self.take(n)?;
        if n > 8 {
            return Err("a whole number of more than 64 bits".to_owned());
        }
        // Sign-extended from its last byte.
        let fill = if raw.last().is_some_and(|b| b & 0x80 != 0) { 0xff } else { 0 };
        let mut all = [fill; 8];
        all[..n].copy_from_slice(raw);
        self.push(Node::Int(i64::from_le_bytes(all)));
        Ok(())
    }

    fn append(&mut self, items: &[Place]) -> Step<()> {
        let top = self.top()?;
        match &mut self.nodes[top] {
            Node::List(list) => list.extend_from_slice(items),
            _ => return Err("something is appended to what is no list".to_owned()),
        }
        Ok(())
    }

    fn set(&mut self, items: &[Place]) -> Step<()> {
        let top = self.top()?;
        match &mut self.nodes[top] {
            Node::Map(map) if items.len().is_multiple_of(2) => {
                map.extend(items.chunks_exact(2).map(|p| (p[0], p[1])));
            }
            _ => return Err("something is put into what is no dictionary".to_owned()),
        }
        Ok(())
    }

    fn global(&mut self, module: &str, name: &str) -> Step<()> {
        // NumPy 2 renamed its inner modules.
        let module = module.replace("numpy._core", "numpy.core");
        let known = match (module.as_str(), name) {
            ("numpy.core.multiarray", "_reconstruct") => Global::Reconstruct,
            ("numpy.core.multiarray", "scalar") => Global::Scalar,
            ("numpy.core.numeric", "_frombuffer") => Global::FromBuffer,
            ("numpy", "dtype") => Global::Dtype,
            ("numpy", "ndarray") => Global::Ndarray,
            ("_codecs", "encode") => Global::Encode,
            ("collections", "OrderedDict") => Global::OrderedDict,
            _ => {
                return Err(format!(
                    "it wants {module}.{name} of Python, and only plain data and NumPy arrays are \
                     read; save the file anew without it"
                ));
            }
        };
        self.push(Node::Global(known));
        Ok(())
    }

    fn call(&mut self, callee: Place, arguments: Place) -> Step<()> {
        let (Node::Global(known), Node::Tuple(a)) = (&self.nodes[callee], &self.nodes[arguments])
        else {
            return Err("a call of what is no known name".to_owned());
        };
        let (known, a) = (*known, a.clone());
        let argument = |i: usize| a.get(i).map(|p| &self.nodes[*p]).unwrap_or(&Node::None);
        let node = match known {
            Global::Reconstruct => Node::Array(None),
            Global::OrderedDict if a.is_empty() => Node::Map(Vec::new()),
            Global::Dtype => Node::Dtype(Dtype::parse(self.text(argument(0))?).map_err(|e| e.0)?),
            Global::Encode => match (argument(0), argument(1)) {
                // Latin-1: the first 256 characters are the bytes.
                (Node::Text(text), _) => Node::Bytes(
                    text.chars()
                        .map(|c| u8::try_from(c as u32))
                        .collect::<Result<_, _>>()
                        .map_err(|e| e.to_string())?,
                ),
                _ => return Err("an encoding of what is no text".to_owned()),
            },
            Global::Scalar => match (argument(0), a.get(1)) {
                (Node::Dtype(dtype), Some(data)) => {
                    Node::Array(Some((Vec::new(), *dtype, false, *data)))
                }
                _ => return Err("a scalar that is not understood".to_owned()),
            },
            Global::FromBuffer => match (a.first(), argument(1), argument(3)) {
                (Some(data), Node::Dtype(dtype), order) => {
                    let fortran = matches!(order, Node::Text(o) if o == "F");
                    Node::Array(Some((self.shape(argument(2))?, *dtype, fortran, *data)))
                }
                _ => return Err("an array that is not understood".to_owned()),
            },
            Global::Ndarray | Global::OrderedDict => {
                return Err("an object that is not understood".to_owned());
            }
        };
        self.push(node);
        Ok(())
    }

    /// Fills what [`call`](Self::call) made.
    fn build(&mut self, state: Place) -> Step<()> {
        let Node::Tuple(s) = &self.nodes[state] else {
            return Err("a state that is not understood".to_owned());
        };
        let part = |i: usize| s.get(i).map(|p| &self.nodes[*p]).unwrap_or(&Node::None);
        let top = self.top()?;
        let filled = match &self.nodes[top] {
            // (version, byte order, ...)
            Node::Dtype(dtype) => {
                let order = self.text(part(1)).unwrap_or("|");
                let size = match part(5) {
                    // A text's element size stands here, in bytes.
                    Node::Int(n) if dtype.kind == 'U' && *n > 0 => *n as usize / 4,
                    _ => dtype.size,
                };
                Node::Dtype(Dtype { big_endian: order == ">", size, ..*dtype })
            }
            // (version, shape, dtype, column-major, data)
            Node::Array(None) => {
                let fortran = matches!(part(3), Node::Bool(true) | Node::Int(1));
                match (part(2), s.get(4)) {
                    (Node::Dtype(dtype), Some(data)) => {
                        Node::Array(Some((self.shape(part(1))?, *dtype, fortran, *data)))
                    }
                    _ => return Err("an array that is not understood".to_owned()),
                }
            }
            _ => return Err("a state for what has none".to_owned()),
        };
        self.nodes[top] = filled;
        Ok(())
    }

    fn text<'b>(&self, node: &'b Node) -> Step<&'b str> {
        match node {
            Node::Text(text) => Ok(text),
            Node::Bytes(raw) => std::str::from_utf8(raw).map_err(|e| e.to_string()),
            _ => Err("a text is missing".to_owned()),
        }
    }

    fn shape(&self, node: &Node) -> Step<Vec<usize>> {
        let Node::Tuple(sizes) = node else {
            return Err("a shape that is not understood".to_owned());
        };
        let size = |p: &Place| match self.nodes[*p] {
            Node::Int(n) => usize::try_from(n).map_err(|e| e.to_string()),
            _ => Err("a shape that is not understood".to_owned()),
        };
        sizes.iter().map(size).collect()
    }

    /// The value at a place, as a tree.
    fn object(&self, place: Place, depth: usize, made: &mut usize) -> Step<Object> {
        *made += 1;
        if depth > DEEPEST || *made > MOST_OBJECTS {
            return Err("it refers to itself, or is nested too deeply".to_owned());
        }
        let mut all = |places: &[Place]| -> Step<Vec<Object>> {
            places.iter().map(|p| self.object(*p, depth + 1, made)).collect()
        };
        Ok(match &self.nodes[place] {
            Node::None => Object::None,
            Node::Bool(b) => Object::Bool(*b),
            Node::Int(i) => Object::Int(*i),
            Node::Float(f) => Object::Float(*f),
            Node::Text(t) => Object::Text(t.clone()),
            Node::Bytes(raw) => match std::str::from_utf8(raw) {
                Ok(text) => Object::Text(text.to_owned()),
                Err(_) => Object::Bytes(raw.clone()),
            },
            Node::Tuple(items) | Node::List(items) => Object::List(all(items)?),
            Node::Map(entries) => {
                let pair = |(k, v): &(Place, Place)| -> Step<(Object, Object)> {
                    Ok((self.object(*k, depth + 1, made)?, self.object(*v, depth + 1, made)?))
                };
                Object::Map(entries.iter().map(pair).collect::<Step<_>>()?)
            }
            Node::Array(Some((shape, dtype, fortran, data))) => match &self.nodes[*data] {
                Node::List(items) if dtype.kind == 'O' => {
                    if *fortran && shape.len() > 1 {
                        return Err("a column-major array of objects".to_owned());
                    }
                    let mut items = all(items)?;
                    // A single object stands for itself.
                    match (shape.is_empty(), items.pop()) {
                        (true, Some(one)) if items.is_empty() => one,
                        (_, last) => {
                            items.extend(last);
                            Object::List(items)
                        }
                    }
                }
                Node::Bytes(raw) => {
                    let array = Array::new(shape.clone(), *dtype, *fortran, raw.clone());
                    Object::Array(array.map_err(|e| e.0)?)
                }
                _ => return Err("an array without its data".to_owned()),
            },
            Node::Array(None) => return Err("an array without its data".to_owned()),
            Node::Dtype(_) | Node::Global(_) => return Err("a bare type".to_owned()),
        })
    }
}

#[cfg(test)]
#[path = "pickle_tests.rs"]
mod tests;
