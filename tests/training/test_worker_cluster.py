import json

import pytest

from tf_deepdeblur.errors import InputError
from tf_deepdeblur.training.worker_cluster import expand_nodes, find_cluster

# Two nodes with four GPUs and four tasks each: variables that the manuals of sbatch and srun list, made-up values.
SLURM = {
    "SLURM_JOB_ID": "4113217", "SLURM_JOB_NODELIST": "gpu[017-018]", "SLURM_JOB_NUM_NODES": "2", "SLURM_NTASKS": "8",
    "SLURM_NTASKS_PER_NODE": "4", "SLURM_TASKS_PER_NODE": "4(x2)", "SLURM_GPUS_ON_NODE": "4",
    "SLURM_STEP_NODELIST": "gpu[017-018]", "SLURM_STEP_TASKS_PER_NODE": "4(x2)", "SLURM_PROCID": "5",
    "SLURM_NODEID": "1", "SLURM_LOCALID": "1", "CUDA_VISIBLE_DEVICES": "0,1,2,3",
}  # fmt: skip
FIRST = 20_000 + 4113217 % 700 * 16


def slurm(**changes):
    environment = {**SLURM, **changes}
    return {name: value for name, value in environment.items() if value is not None}


@pytest.mark.parametrize(
    ("nodes", "names"),
    [
        ("gpu7", ["gpu7"]),
        ("b,a", ["b", "a"]),
        ("gpu[017-018]", ["gpu017", "gpu018"]),
        ("n[9-11],login-2", ["n9", "n10", "n11", "login-2"]),
        ("n[1,08-10,3]", ["n1", "n08", "n09", "n10", "n3"]),
        ("rack[1-2]n[3,5]", ["rack1n3", "rack1n5", "rack2n3", "rack2n5"]),
        ("a[1-2].site.org,b", ["a1.site.org", "a2.site.org", "b"]),
    ],
)
def test_slurms_lists_of_nodes_are_expanded_in_their_order(nodes, names):
    assert expand_nodes(nodes) == names


@pytest.mark.parametrize("nodes", ["", "a[1-", "a[1-x]", "a,,b", "a,", "a]1["])
def test_other_lists_are_refused(nodes):
    with pytest.raises(ValueError):
        expand_nodes(nodes)


def test_a_slurm_step_becomes_a_tf_config():
    environment = slurm()
    cluster = find_cluster(environment)
    addresses = [f"{node}:{FIRST + task}" for node in ("gpu017", "gpu018") for task in range(4)]
    assert json.loads(environment["TF_CONFIG"]) == {
        "cluster": {"worker": addresses}, "task": {"type": "worker", "index": 5},
    }  # fmt: skip
    assert cluster == (tuple(addresses), 5)
    assert cluster.name(5) == f"worker 5 (gpu018:{FIRST + 1})"
    assert environment["CUDA_VISIBLE_DEVICES"] == "1"


@pytest.mark.parametrize(
    ("changes", "gpus"),
    [
        ({"CUDA_VISIBLE_DEVICES": "2", "SLURM_GPUS_ON_NODE": "4"}, "2"),  # --gpus-per-task has bound them already
        ({"CUDA_VISIBLE_DEVICES": None}, None),  # no GPUs
        ({"CUDA_VISIBLE_DEVICES": "0,1,2,3,4,5,6,7", "SLURM_GPUS_ON_NODE": "8"}, "2,3"),
        ({"CUDA_VISIBLE_DEVICES": "0,1", "SLURM_GPUS_ON_NODE": "2"}, "0,1"),  # fewer than tasks: not for us to say
    ],
)
def test_tasks_of_a_node_share_its_gpus(changes, gpus):
    environment = slurm(**changes)
    find_cluster(environment)
    assert environment.get("CUDA_VISIBLE_DEVICES") == gpus


def test_one_task_a_node_keeps_all_gpus():
    counts = {"SLURM_STEP_TASKS_PER_NODE": "1(x2)", "SLURM_PROCID": "1", "SLURM_LOCALID": "0"}
    environment = slurm(**counts)
    assert find_cluster(environment).addresses == (f"gpu017:{FIRST}", f"gpu018:{FIRST}")
    assert environment["CUDA_VISIBLE_DEVICES"] == "0,1,2,3"


def test_nodes_may_have_different_numbers_of_tasks():
    environment = slurm(
        SLURM_STEP_NODELIST="n[1-3],m", SLURM_STEP_TASKS_PER_NODE="2(x2),1,3", SLURM_PROCID="4", SLURM_NODEID="2",
        SLURM_LOCALID="0",
    )  # fmt: skip
    hosts = [address.split(":")[0] for address in find_cluster(environment).addresses]
    assert hosts == ["n1", "n1", "n2", "n2", "n3", "m", "m", "m"]


def test_tasks_in_another_order_than_the_nodes_are_refused():
    with pytest.raises(InputError, match="srun --distribution=block"):
        find_cluster(slurm(SLURM_PROCID="1", SLURM_NODEID="1", SLURM_LOCALID="0"))  # --distribution=cyclic


@pytest.mark.parametrize(
    "changes",
    [
        {"SLURM_PROCID": "8"},
        {"SLURM_STEP_TASKS_PER_NODE": "4"},
        {"SLURM_STEP_TASKS_PER_NODE": "four"},
        {"SLURM_STEP_NODELIST": None, "SLURM_JOB_NODELIST": None},
        {"SLURM_JOB_ID": None},
    ],
)
def test_a_slurm_environment_that_makes_no_sense_is_refused(changes):
    with pytest.raises(InputError, match=r"Slurm's environment .*set TF_CONFIG"):
        find_cluster(slurm(**changes))


def test_tf_config_has_precedence_and_a_chief_is_the_first():
    setting = {"cluster": {"worker": ["b:1", "c:1"], "chief": ["a:1"]}, "task": {"type": "worker", "index": 1}}
    assert find_cluster(slurm(TF_CONFIG=json.dumps(setting))) == (("a:1", "b:1", "c:1"), 2)
