"""What commands ask and order, and what they are told. Entered by ``answers.answer`` alone.

``answers`` has the table of handlers by message type and what describes the moment, ``commands``
what changes something, ``finding`` what a person means by a piece of text, ``graphs`` what requires
what, ``ended`` what is kept of ended runs. Nothing here decides what becomes of a task: that is
asked of the modules above, which never import these.
"""
