//! A circle of nodes shares a tree: several sources, a cache that learns nothing, friends that are gone.

use crate::harness::World;

#[test]
fn two_nodes_join() {
    let Some(world) = World::new("two_nodes_join") else { return };
    let a = world.started("A");
    let b = world.started("B");
    b.join(&a.invite("member"));
    assert_eq!(b.circle()["name"], "Friends");
}
