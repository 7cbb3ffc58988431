"""Reading a run's files back, through the gateway's grants."""

from __future__ import annotations

UID = "6f3b2f6e-54e1-4f3a-9a35-0d6bd5e1c0aa"


def test_the_files_of_a_run_are_listed_by_their_path_in_the_run_and_can_be_read(storage, bucket, loop):
    loop(bucket.put(f"runs/team/{UID}/metrics.jsonl", b'{"metric":"accuracy","value":1}\n'))
    loop(bucket.put(f"runs/team/{UID}/outputs/model.pkl", b"a model"))
    loop(bucket.put(f"runs/other/{UID}/outputs/secret", b"of another namespace"))
    files = {file["path"]: file for file in storage.files(area="runs", prefix=f"{UID}/")}
    assert sorted(files) == ["metrics.jsonl", "outputs/model.pkl"]
    assert storage.read_text(files["metrics.jsonl"]) == '{"metric":"accuracy","value":1}\n'
