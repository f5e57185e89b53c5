"""What the commands besides the stages do: answers for some users, a new project, the state of everything."""
