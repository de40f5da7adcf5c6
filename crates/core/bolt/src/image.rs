//! Writing a whole file: planned and streamed, or straight to a file.
//!
//! Why two walks for a stream: the receiver wants to know the length beforehand, and the metas,
//! which come first, name the last page. Both follow from the rows' sizes alone. The alternative, a
//! temporary file of up to 100 GB that is then sent, costs the disk three times the bytes.

use bytes::{Bytes, BytesMut};

use crate::error::WriteError;
use crate::page::{KEY_BYTES_MAX, Meta, NO_FREELIST, PAGE_SIZES, RUN_BYTES_MAX, is_page_size};
use crate::source::{RowSize, Rows, Source, shown};
use crate::tree::{Buffer, Cell, Content, Measured, Nowhere, Output, Pages, Tree};

/// Bytes collected before a file is written to.
const WRITE_BYTES: usize = 1024 * 1024;
/// Rows longer than this are refused; with the largest key a page of one row stays a legal run.
const VALUE_BYTES_MAX: usize = RUN_BYTES_MAX as usize / 2;

/// What a writer may choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Bytes of a page: a power of two from 1024 to 65536. Go takes any; 4096 is its own on x86-64.
    pub page_bytes: u32,
    /// The transaction the file seems to come from. An even number, so that the next one that
    /// Go writes replaces the older of the two metas.
    pub transaction: u64,
}

impl Default for Layout {
    fn default() -> Layout {
        Layout { page_bytes: 4096, transaction: 2 }
    }
}

/// Where everything of a file to be written will lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    layout: Layout,
    root: u64,
    high_water: u64,
}

impl Plan {
    /// The length of the file, without a digest behind it.
    pub fn image_bytes(&self) -> u64 {
        self.high_water * u64::from(self.layout.page_bytes)
    }

    /// Appends both meta pages: the same root, the second one transaction older, as in the images
    /// that Go etcd sends.
    fn encode_metas(&self, out: &mut BytesMut) {
        let meta = Meta {
            page_bytes: self.layout.page_bytes,
            root: self.root,
            freelist: NO_FREELIST,
            high_water: self.high_water,
            txid: self.layout.transaction,
        };
        meta.encode(0, out);
        Meta { txid: meta.txid.saturating_sub(1), ..meta }.encode(1, out);
    }
}

/// Walks the sizes of all rows and settles where each page will lie.
///
/// # Errors
/// When the source fails, or a row has no place in the format.
pub fn plan(source: &dyn Source, layout: Layout) -> Result<Plan, WriteError> {
    let mut image = Image::new(layout, Nowhere);
    for bucket in names(source)? {
        let mut tree = Tree::new(&image.pages);
        for (row, size) in (0..).zip(source.sizes(&bucket)) {
            let size = size.map_err(|source| failed(&bucket, source))?;
            check_size(&bucket, row, size)?;
            let content = Content::Value(size.value_bytes);
            tree.push(Cell { key: size.key_bytes, content }, &mut image.pages);
        }
        image.end_bucket(bucket.len(), tree);
    }
    Ok(image.finish().0)
}

/// A file as a stream of bytes, from the first to the last.
pub struct ImageStream {
    plan: Plan,
    source: Box<dyn Source>,
    writer: Writer,
    /// All bytes have been made, or there was an error.
    ended: bool,
}

impl ImageStream {
    /// Begins to stream the rows that `plan` was made for.
    ///
    /// # Errors
    /// When the source fails.
    pub fn new(source: Box<dyn Source>, plan: Plan) -> Result<ImageStream, WriteError> {
        let mut writer = Writer::new(source.as_ref(), plan.layout)?;
        plan.encode_metas(writer.bytes());
        Ok(ImageStream { plan, source, writer, ended: false })
    }

    /// The next piece, at most `bytes_max` long, and shorter only at the end. `None` after the
    /// last.
    ///
    /// # Errors
    /// When the source fails or is not what was planned; then nothing more comes.
    pub fn next_chunk(&mut self, bytes_max: usize) -> Result<Option<Bytes>, WriteError> {
        assert!(bytes_max > 0);
        while !self.ended && self.writer.bytes().len() < bytes_max {
            let made = self.writer.step(self.source.as_ref());
            let error = match made {
                Ok(None) => continue,
                Ok(Some(built)) if built == self.plan => None,
                Ok(Some(_)) => Some(WriteError::Changed),
                Err(error) => Some(error),
            };
            self.ended = true;
            if let Some(error) = error {
                self.writer.bytes().clear();
                return Err(error);
            }
        }
        let bytes = self.writer.bytes();
        let chunk_bytes = bytes.len().min(bytes_max);
        Ok((chunk_bytes > 0).then(|| bytes.split_to(chunk_bytes).freeze()))
    }
}

/// Writes all rows to an empty file and syncs it. Needs one walk only, the metas are written last.
///
/// # Errors
/// When the source fails, a row has no place in the format, or the file cannot be written.
pub fn write_file(
    file: &dyn vfs::File,
    source: &dyn Source,
    layout: Layout,
) -> Result<Plan, WriteError> {
    let mut writer = Writer::new(source, layout)?;
    let mut offset = 2 * u64::from(layout.page_bytes);
    let write = |bytes: &[u8], offset| {
        file.write_all_at(bytes, offset).map_err(|source| WriteError::Write { offset, source })
    };
    let plan = loop {
        let built = writer.step(source)?;
        let bytes = writer.bytes();
        if built.is_some() || bytes.len() >= WRITE_BYTES {
            write(bytes, offset)?;
            offset += bytes.len() as u64;
            bytes.clear();
        }
        if let Some(plan) = built {
            break plan;
        }
    };
    let mut metas = BytesMut::new();
    plan.encode_metas(&mut metas);
    write(&metas, 0)?;
    file.sync_data().map_err(|source| WriteError::Write { offset, source })?;
    Ok(plan)
}

/// The trees of a file under construction, besides the one that is growing.
struct Image<B, O> {
    layout: Layout,
    pages: Pages<O>,
    /// The names of the buckets finished so far.
    buckets: Tree<B>,
}

impl<B: Measured, O: Output<B>> Image<B, O> {
    fn new(layout: Layout, output: O) -> Image<B, O> {
        assert!(is_page_size(layout.page_bytes), "page sizes are {PAGE_SIZES:?}");
        let pages = Pages::new(layout.page_bytes, output);
        Image { layout, buckets: Tree::new(&pages), pages }
    }

    fn end_bucket(&mut self, name: B, tree: Tree<B>) {
        let root = tree.finish(&mut self.pages);
        let content = Content::Bucket(root);
        self.buckets.push(Cell { key: name, content }, &mut self.pages);
    }

    fn finish(mut self) -> (Plan, O) {
        let root = self.buckets.finish(&mut self.pages);
        let plan = Plan { layout: self.layout, root, high_water: self.pages.next };
        (plan, self.pages.output)
    }
}

/// Makes a file's pages, a row at a time.
struct Writer {
    /// Taken when the last page is made.
    image: Option<Image<Bytes, Buffer>>,
    names: std::vec::IntoIter<Bytes>,
    current: Option<Growing>,
    last_name: Bytes,
    /// What is left of the pages once the image is finished.
    rest: BytesMut,
}

/// The bucket whose rows are being written.
struct Growing {
    name: Bytes,
    tree: Tree<Bytes>,
    rows: Rows,
    row: u64,
    last_key: Bytes,
}

impl Writer {
    fn new(source: &dyn Source, layout: Layout) -> Result<Writer, WriteError> {
        let page_bytes = layout.page_bytes as usize;
        let image = Image::new(layout, Buffer { page_bytes, bytes: BytesMut::new() });
        Ok(Writer {
            image: Some(image),
            names: names(source)?.into_iter(),
            current: None,
            last_name: Bytes::new(),
            rest: BytesMut::new(),
        })
    }

    /// Bytes made and not yet taken.
    fn bytes(&mut self) -> &mut BytesMut {
        match &mut self.image {
            Some(image) => &mut image.pages.output.bytes,
            None => &mut self.rest,
        }
    }

    /// Takes one row, or goes on to the next bucket. Returns the plan once all is written.
    fn step(&mut self, source: &dyn Source) -> Result<Option<Plan>, WriteError> {
        let mut image = self.image.take().expect("nobody steps on after the end");
        if let Some(mut growing) = self.current.take() {
            if let Some(cell) = growing.next()? {
                growing.tree.push(cell, &mut image.pages);
                self.current = Some(growing);
            } else {
                image.end_bucket(growing.name, growing.tree);
            }
        } else if let Some(name) = self.names.next() {
            if name <= self.last_name {
                return Err(WriteError::Order { bucket: shown(&name), row: 0 });
            }
            self.last_name = name.clone();
            let (tree, rows) = (Tree::new(&image.pages), source.rows(&name));
            self.current = Some(Growing { name, tree, rows, row: 0, last_key: Bytes::new() });
        } else {
            let (plan, buffer) = image.finish();
            self.rest = buffer.bytes;
            return Ok(Some(plan));
        }
        self.image = Some(image);
        Ok(None)
    }
}

impl Growing {
    fn next(&mut self) -> Result<Option<Cell<Bytes>>, WriteError> {
        let Some(row) = self.rows.next() else { return Ok(None) };
        let (key, value) = row.map_err(|source| failed(&self.name, source))?;
        let size = RowSize { key_bytes: key.len(), value_bytes: value.len() };
        check_size(&self.name, self.row, size)?;
        if key <= self.last_key {
            return Err(WriteError::Order { bucket: shown(&self.name), row: self.row });
        }
        self.row += 1;
        self.last_key = key.clone();
        Ok(Some(Cell { key, content: Content::Value(value) }))
    }
}

fn check_size(bucket: &Bytes, row: u64, size: RowSize) -> Result<(), WriteError> {
    let fits = (1..=KEY_BYTES_MAX).contains(&size.key_bytes) && size.value_bytes <= VALUE_BYTES_MAX;
    let RowSize { key_bytes, value_bytes } = size;
    if fits {
        Ok(())
    } else {
        Err(WriteError::RowSize { bucket: shown(bucket), row, key_bytes, value_bytes })
    }
}

fn names(source: &dyn Source) -> Result<Vec<Bytes>, WriteError> {
    source.buckets().map_err(WriteError::Buckets)
}

fn failed(bucket: &Bytes, source: crate::source::SourceError) -> WriteError {
    WriteError::Source { bucket: shown(bucket), source }
}
