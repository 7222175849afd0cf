"""Artifacts: outputs whose place follows from the task that makes them.

``task.artifact(".parquet")`` is a target under one storage root (setting ``storage.root``)::

    class Sales(flow.Task):
        date = flow.DateParameter()

        def output(self):
            return self.artifact(".parquet")

        def run(self):
            self.output().dump(frame)   # a task that requires this: self.input().load()

``identity`` says which tasks share a place, ``location`` where it is, ``contents`` how values
become bytes by suffix, ``stores`` how a file is put there as a whole, ``artifact`` is the target.
Called by tasks and by ``flow clean``. Nothing here knows messages or the engine.
"""
