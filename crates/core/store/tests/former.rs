//! Directories that former releases wrote are read, gone on with, and cleaned.

mod support;

use std::path::Path;

use support::{Chance, Model, check, check_reopened, check_restart, open, small};
use vfs::{Disk, MemoryDisk};

/// Every kind of file, as the release before footers knew lengths left them after 90 batches. It wrote a frame
/// for each entry, also for one that changed nothing.
const FILES: [(&str, &[u8]); 9] = [
    ("manifest", include_bytes!("former/manifest")),
    ("synced", include_bytes!("former/synced")),
    ("0000000000000001.index", include_bytes!("former/0000000000000001.index")),
    ("0000000000000002.state", include_bytes!("former/0000000000000002.state")),
    ("0000000000000003.seg", include_bytes!("former/0000000000000003.seg")),
    ("0000000000000004.log", include_bytes!("former/0000000000000004.log")),
    ("0000000000000004.marks", include_bytes!("former/0000000000000004.marks")),
    ("0000000000000005.log", include_bytes!("former/0000000000000005.log")),
    ("0000000000000006.log", include_bytes!("former/0000000000000006.log")),
];

/// The batches that were put there.
fn model(chance: &mut Chance) -> Model {
    let mut model = Model::default();
    for step in 0..90 {
        model.next_batch(chance, 12, 90);
        if step == 60 {
            model.compact(model.main() - 10);
        }
    }
    model.synced = model.index();
    model
}

#[test]
fn a_directory_of_the_release_before_is_read_gone_on_with_and_cleaned() {
    let disk = MemoryDisk::new();
    let dir = Path::new(support::DIR);
    disk.create_dir_all(dir).expect("memory");
    for (name, bytes) in FILES {
        let file = disk.create(&dir.join(name)).expect("memory");
        file.write_all_at(bytes, 0).expect("memory");
    }
    let mut chance = Chance(3);
    let mut model = model(&mut chance);
    let (mut store, restored) = open(&disk, small()).expect("its form is known");
    assert_eq!(restored.applied_index, model.index());
    assert_eq!(restored.ignored, [], "footers of a former form are no damage");
    check(&store, &model, model.index()).expect("every row can be read");
    check_restart(&store, &restored, &model, true).expect("the image can be read");
    check_restart(&store, &restored, &model, false).expect("the keys can be read");

    for _ in 0..40 {
        store.append(&model.next_batch(&mut chance, 12, 90));
        store.flush().expect("the disk works");
    }
    let dead = model.compact(model.main());
    store.mark_dead(&dead);
    store.clean_all().expect("the disk works");
    model.synced = store.synced_index();
    drop(store);
    check_reopened(&disk, &model);
}
