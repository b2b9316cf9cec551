"""The dashboard: thin Streamlit pages on `kaiju_sim`, charts as pure functions, runs in workers."""
